"""A move is sent a signal at any of its system calls: it is complete, or all is as before and it says why.

The same calls that are killed and that fail. Signals are blocked from before the first netlink socket on, so no signal
ends the process there. Short: a few at random; NETDEVNS_ATTACK=long: each call with each signal.
"""

from __future__ import annotations

from tests.support.attacks import AS_BEFORE, Tally, sample

from .attack import Attacks

SIGNALS = ("INT", "TERM", "HUP")


def test_signal_at_one_call(attacks: Attacks, tally: Tally) -> None:
    """One of INT, TERM and HUP at one call of a move of four devices: a bridge port, a lower device and its upper."""
    every = [(call, number, name) for call, number in attacks.clean.own for name in SIGNALS]
    for call, number, name in sample(every, 6):
        attacks.signal(tally, f"{call}:signal={name}:when={number}")
    assert tally.ends[AS_BEFORE]
