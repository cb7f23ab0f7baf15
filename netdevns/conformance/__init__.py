"""The kernel conformance suite: what does this kernel do when a device changes its network namespace?

It needs the standard library, and of this package only what sends and reads netlink (rtnl, wire, netns, uapi, errors):
never the code that it judges, and no compiled module.

How to add a probe
    Write it into a file of `subjects/`, one file a subject; every module there is found by itself, in the order of the
    names. The first part of the id is the subject. An id never changes: others compare their results by it.

        @probe("message.ns-fd.not-a-namespace", ABI, "The descriptor of an ordinary file is refused.", source=MOVE)
        def not_a_namespace(world: World) -> Value:
            device = world.source.device(b"eth1")
            reply = world.source.request(set_link(device.ifindex, ns_fd(world.open("/dev/null"))))
            return world.outcome(device, reply)

    Many cases of one thing are one function; the id has `{}` where the case's name goes, the sentence may have it:

        BYTES = {f"{n:02x}": (n,) for n in range(256)}

        @probe("names.byte.{}", ABI, "A name with the byte {}.", source=VALID_NAME, cases=BYTES)
        def byte(world: World, number: int) -> Value: ...

    - A probe sets up one situation, does one thing and returns what the kernel did as a small JSON value. It asserts
      nothing. What differs from run to run (an ifindex, a random MAC, a time) is not in the value.
    - Its world is its own: fresh namespaces (`world.source`, `world.target`, `world.namespace(name)`), in a process
      that dies with all that it made if the probe leaves a descriptor, a child or a thread. It need not clean up.
      It writes only below `world.directory()`. What it could not take back (a dropped capability, a user namespace, a
      mount) it does in a child: `system.run_in_child`, with `system.drop_capabilities` and the like.
    - `raise NotAvailable(why)` where the kernel lacks something; `Namespace.make` does for kinds of devices. A set-up
      that fails for another reason raises, which is an "error", never a value.
    - `spec`: the runtime-spec or a promise of ours needs it. `abi`: the same on every kernel so far. `varies`: it
      differs, and the value is the answer. Where one part of a value varies (often extack), that is its own probe.
    - Then measure, on all kernels, look at each value, and write the expectations and docs/kernels.md:

        tools/conformance

      What surprises gets a note in docs/kernels.toml.
"""
