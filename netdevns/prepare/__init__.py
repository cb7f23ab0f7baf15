"""A namespace that has its devices before a container starts: to join it takes microseconds, to move a NIC 17 ms.

`make` makes a named namespace and moves devices into it, with a loan, so that they come home: by `undo`, or by
`netdevns return` after `ip netns del`. It can be repeated, and survives restarts of the container.
"""
