"""The move of a batch: planned, checked, done, undone. (Not `move`: that is the function.)"""
