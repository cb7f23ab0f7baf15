"""What a type checker must refuse: each line that says so at its end, and no other. Never run."""

import netdevns

netdevns.move(["eth1"], "blue")  # wrong
netdevns.move({"eth1": 7}, "blue")  # wrong
netdevns.move({"eth1": "net0"}, None)  # wrong
netdevns.move({"eth1": "net0"})  # wrong
netdevns.move({"eth1": "net0"}, "blue", "green")  # wrong
netdevns.move({"eth1": "net0"}, "blue", timeout_s="5")  # wrong
netdevns.move({"eth1": "net0"}, "blue", preserve=7)  # wrong
netdevns.check({"eth1": "net0"}, "blue", preserve=[7])  # wrong
netdevns.check({"eth1": "net0"}, b"blue")  # wrong
netdevns.snapshot(b"eth1")  # wrong
netdevns.move({"eth1": "net0"}, "blue")[0].name = "net1"  # wrong
netdevns.nothing  # wrong  # noqa: B018
netdevns.oci.net_devices("config.json")  # wrong
netdevns.oci.net_devices({})
