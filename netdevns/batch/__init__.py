"""The move of a batch: plan, checks, transaction and undo. (Not called `move`, as that is the function.)"""
