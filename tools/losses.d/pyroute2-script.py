"""pyroute2-script.py NETNS OLD=NEW...   Moves devices with IPRoute and adds their addresses again."""

import sys

from pyroute2 import IPRoute, NetNS

netns = sys.argv[1]
with IPRoute() as host, NetNS(netns) as target:
    for pair in sys.argv[2:]:
        old, new = pair.split("=")
        index = host.link_lookup(ifname=old)[0]
        addresses = list(host.get_addr(index=index, scope=0))
        host.link("set", index=index, net_ns_fd=netns, ifname=new)
        index = target.link_lookup(ifname=new)[0]
        target.link("set", index=index, state="up")
        for a in addresses:
            address = a.get_attr("IFA_LOCAL") or a.get_attr("IFA_ADDRESS")
            target.addr("add", index=index, address=address, prefixlen=a["prefixlen"])
