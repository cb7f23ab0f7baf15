"""The device that tests of the command move."""

from __future__ import annotations

ETH1 = [
    "link add eth1 index 4711 type ifb",
    "link set eth1 up",
    "addr add 10.0.0.1/24 brd + label eth1:a dev eth1",
    "addr add 2001:db8::1/64 nodad dev eth1",
    "route add 192.0.2.0/24 via 10.0.0.9",
]
