"""Speaks rtnetlink: constants, messages and a plain socket; nothing here is specific to moves."""
