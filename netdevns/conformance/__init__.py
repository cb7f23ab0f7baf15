"""The kernel conformance suite: measures what the kernel does when a device changes its network namespace.

It needs the standard library and of this package only netlink, text and errors: no code that moves devices, no compiled
module.

How to add a probe
    Write it in a file of `subjects/`, one file per subject; the modules there are found automatically. The first part
    of the id is the subject. An id never changes: results are compared by it.

        @probe("message.ns-fd.not-a-namespace", ABI, "The descriptor of a file is refused.", source=MOVE)
        def not_a_namespace(world: World) -> Value:
            device = world.source.device(b"eth1")
            reply = world.source.request(set_link(device.ifindex, ns_fd(world.open("/dev/null"))))
            return world.outcome(device, reply)

    Several cases are one function; `{}` in the id, and in the sentence, is the case's name (or its text in `texts`):

        BYTES = {f"{n:02x}": (n,) for n in range(256)}

        @probe("names.byte.{}", ABI, "A name with the byte {} is accepted.", source=VALID_NAME, cases=BYTES)
        def byte(world: World, number: int) -> Value: ...

    - The sentence states the fact that the value shows; for a probe that varies, it names the subject.
    - A probe sets up one situation, does one thing and returns the outcome as a small JSON value. It asserts nothing.
      The value has nothing that differs from run to run (an ifindex, a random MAC, a time).
    - Each probe has fresh namespaces (`world.source`, `world.target`, `world.namespace(name)`), in a process that is
      ended if the probe leaves a descriptor, a child or a thread. It need not clean up. It writes only below
      `world.directory()`. Irreversible steps (dropping a capability, entering a user namespace, a mount) belong in a
      child: `system.run_in_child`.
    - `raise NotAvailable(why)` if the kernel lacks something; `Namespace.make` does so for kinds of devices. A set-up
      that fails for another reason raises, which is an "error", never a value.
    - `spec`: the runtime-spec, or a promise of netdevns, needs it. `abi`: the same on every kernel so far. `varies`: it
      differs, and the value is the answer. A part of a value that varies (often extack) is a probe of its own.
    - Then measure on all kernels, check each value, and write the expectations and docs/kernels.md:

        tools/conformance

      A surprise gets a note in docs/kernels.toml.
"""
