"""The help texts of the commands, of which tools/pages also makes the man page."""

ABOUT = """\
Moves existing network devices into a container's network namespace: all of
them or none, under the wanted names, up, with every permanent address of
global scope. When anything fails, every device is restored.
"""

NETNS = """\
NETNS is a path (/proc/4711/ns/net), a name under /run/netns (blue), a process
(pid:4711) or an open descriptor (fd:3).
"""

EXIT_CODES = """\
exit codes:
  0  done
  1  failed, everything is restored
  2  bad usage, invalid configuration or refused by a check; nothing was touched
  3  failed, and something could not be restored: the message names it, and
     where the device is
"""

MOVE = """\
Moves devices into a network namespace. A name with %d is a template: the
kernel chooses the number.

example: move eth1, to be called net0, and mv0, to get a free eth name, into
the namespace of process 4711
  netdevns move eth1=net0 mv0=eth%d --to pid:4711

example: with its routes and sysctls, as far as they are valid there
  netdevns move eth1 --to blue --preserve routes,sysctls
"""
APPLY = """\
Moves the devices of linux.netDevices in an OCI config.json. Without --pid and
--netns the target is the namespace that the configuration joins by path.

example: what a runtime does between "create" and "start"
  netdevns apply --bundle /containers/web --pid 4711
"""
CHECK = """\
Runs all checks of a move, and prints every reason why it would be refused and
all state that the kernel would drop. Changes nothing.

example:
  netdevns check eth1=net0 --to blue
"""
SHOW = """\
Shows devices: whether each can be moved and what a move would lose, its
addresses, and what it is. Changes nothing; needs no privilege for this
namespace.

example: can eth1 be moved, and what would it lose?
  netdevns show eth1
"""
DOCTOR = """\
Looks for the reason why a container has no device: the hooks, CDI and hooks.d
files, netavark and NRI plugins and units that start netdevns, and whether they
run; the runtimes; where the devices are; records, loans and locks; the kernel;
daemons that would rename or configure a device. With BUNDLE: whether that
container asks for devices, by which way, and whether a move would succeed.

Changes nothing. Programs are started with --version, runtimes also with
features, netdevns with show; none that another user than root could have
replaced, and so that they can write nothing.

example: why has the container of this bundle no device?
  netdevns doctor /containers/web

exit codes: 0 no error; 1 an error, which the output names with its remedy
"""
RECOVER = """\
Undoes the moves whose processes were killed: finds each device of each record
in /run/netdevns/txn that no process holds, and restores it, or leaves it in the
target if the whole move was complete. Removes the empty namespaces that a
killed `netdevns prepare` left. Can be repeated. The next move of the same
devices also restores them.

example: is there anything to recover?
  netdevns recover --list

exit codes: 0 all devices are restored, complete in the target, or gone; 3 a
device is not restored completely, or an empty namespace is not removed: its
record is kept, or set aside if it is damaged
"""
RETURN = """\
Restores host name, addresses, routes and settings of physical devices that the
kernel returned to the initial namespace when a container ended. The poststop
hook does the same; this is for when it did not run, or ran too early. Takes no
device out of a namespace that still exists. Can be repeated.

example: restore all devices that have come back
  netdevns return

exit codes: 0 all devices are restored, ended with their container, or still in
it; 3 a device could not be restored completely, or another process is restoring
it: its loan is kept
"""
PREPARE = """\
Makes the network namespace /run/netns/NAME, moves devices into it, all or none,
and prints its path, for containers to join: their start and restart then move
no device. Repeated with the same devices it does nothing; more devices are
added. --undo restores all devices and removes the namespace. If the namespace
was deleted otherwise, `netdevns return NAME` restores the physical devices that
the kernel returned.

example: a container that has eth1, as net0, from the start
  podman run --network ns:$(netdevns prepare blue eth1=net0) ...
  netdevns prepare blue --undo

exit codes: those of move; with --undo 0 all devices are restored, 2 the
namespace is in use, or was not prepared, 3 a device is not restored completely,
and its loan is kept
"""
FEATURES = """\
Prints the runtime-spec's features structure as JSON: the versions of the
specification, the hooks, and that linux.netDevices is enabled.

example:
  netdevns features
"""
HOOK = """\
The hooks of an OCI bundle. createRuntime moves the devices of its config.json,
those given as arguments, and those of the annotations
"org.netdevns.device.<host name>": "<name in the container>". The author of
annotations may not be trusted, so they need an --allow GLOB that matches the
host name, and a device without a default route. poststop restores physical
devices that the kernel returned: name, addresses, routes and settings. Errors
go to stderr, /run/netdevns/hook.log and syslog, in at most 64 lines.

example: in config.json
  "hooks": {"createRuntime": [{
      "path": "/usr/bin/netdevns",
      "args": ["netdevns", "hook", "createRuntime"]}],
    "poststop": [{
      "path": "/usr/bin/netdevns", "args": ["netdevns", "hook", "poststop"]}]}
"""
CONFORMANCE = """\
Tests how this kernel moves devices between network namespaces: runs probes,
each in its own namespaces, and compares their results with those of known
kernels. Needs root, or a kernel that allows unprivileged user namespaces;
touches no device of yours.

PROBE is a probe's id (message.ns-fd.closed), a glob (message.*), or a class:
spec (the runtime-spec or netdevns relies on it), abi (the same on every kernel
so far) or varies (it differs between kernels).

example: run all probes, and show the unexpected results
  netdevns conformance

example: compare two kernels
  netdevns conformance diff 6.12.json 6.18.json

exit codes: 0 all requirements hold; 1 one does not (diff: the results differ);
2 nothing was done
"""
CDI = """\
Prints a CDI file, by which podman, containerd, CRI-O and docker know network
devices under names such as vendor.com/nic=eth1, or writes it to /etc/cdi. KIND
is VENDOR/CLASS, such as vendor.com/nic; behind the "=" stands the host name.
The file has a hook for each device, for any runtime; with --cdi-version 1.1.0
it has none, for runtimes that move devices themselves.

example: offer eth1 as net0, then use it
  netdevns cdi vendor.com/nic eth1=net0 --install
  podman run --network none --device vendor.com/nic=eth1 ...
"""
HOOKS_DIR = """\
Prints the files by which podman and CRI-O start netdevns for containers with
annotations org.netdevns.device.DEV=NAME, or writes them to
/usr/share/containers/oci/hooks.d. Only devices that match an --allow are moved.

example: allow eth1 to eth9, then start a container that asks for eth1
  netdevns hooks-dir --allow "eth[1-9]" --install
  podman run --network none --annotation org.netdevns.device.eth1=net0 ...
"""
UNITS = """\
Prints a udev rule and systemd units, or writes them below /etc. They run
`netdevns return` when a container's network card comes back to the host, also
if no poststop hook ran, and `netdevns recover` if a move was killed; both at
boot, too. With NAME: the unit that prepares the namespace NAME with these
devices at boot. Needs systemd 249 or newer.

example: restore devices also after a runtime was killed
  netdevns units --install

example: the namespace blue, with eth1 as net0, from boot on
  netdevns units blue eth1=net0 --install
  systemctl daemon-reload && systemctl enable --now netdevns-prepare-blue
"""
NETAVARK = """\
Prints the netavark plugin, by which a podman network gives its containers a
device of the host, or writes it to /usr/local/libexec/netavark. Its name there,
netdevns, is the name of the driver. podman starts it with create, setup NETNS,
teardown NETNS or info, and JSON on stdin; an error is JSON on stdout.

example: a network that gives eth1 to its container, as net0
  netdevns netavark --install
  podman network create --driver netdevns --opt device=eth1 nic1
  podman run --network nic1:interface_name=net0 ...

options of the network, by --opt:
  device=DEV         the device, with the addresses that it has
  name=NAME          its name where podman would choose one (eth0, eth1, ...)
  preserve=KIND,...  carry over besides addresses: sysctls, routes, neighbours
  force=true         also a device that carries a default route
"""
NRI = """\
The plugin for Kubernetes: serves the NRI (Node Resource Interface) of
containerd 1.7 and later, or of CRI-O, until a signal ends it. A pod with the
annotations "org.netdevns.device.<host name>": "<name in the pod>" gets these
devices before its containers start, all or none; without them, its containers
are refused. When it stops, they are restored. What happened while the plugin
was not connected is settled when it connects. The author of annotations may
not be trusted, so they need an --allow that matches the device. Errors go to
stderr, /run/netdevns/hook.log and syslog.

example: pods of the namespace edge may have eth1 to eth9, others eth1 only
  netdevns nri --allow "edge/eth[1-9]" --allow eth1

A runtime starts pods also without a plugin that is dead. With --strict it is
configured to refuse their containers, by a hook that needs netdevns on the
host: this makes the file, from containerd's own spec on stdin.

example: the same devices, and no container without them
  ctr oci spec | netdevns nri --strict containerd --allow "edge/eth[1-9]" \\
    --allow eth1 --install

exit codes: 0 ended by a signal, or by the runtime that started it; 2 bad usage;
3 a thread could not leave a pod's network namespace: start the plugin again
"""
DEMO = """\
Makes a "host" and a "container" namespace, moves devices from one to the other,
and shows the result; then a batch that fails, and that everything is restored.
Needs root, or a kernel that allows unprivileged user namespaces.

example:
  netdevns demo
"""
