# shellcheck shell=bash
# Fresh namespaces for tests and runtimes, and several of them at once; sourced after tools/setup.sh, never run.

# Run as the namespaces' first process, which stays for the tests' orphans: it reaps them, and its end is theirs.
# What a test leaves under /run, as a device or as a process is gone with the namespaces. NETDEVNS_OWN_RUN: what is under
# /run may be deleted.
# shellcheck disable=SC2016  # expanded by the inner shell
inside='mount -t tmpfs tmpfs /run && export NETDEVNS_OWN_RUN=yes && ip link set lo up && { "$@" || exit; }'

# Each link of the chain of processes takes the next one with it, however it dies.
fresh=(--net --mount --pid --fork --kill-child --mount-proc --propagation private bash -c "$inside" bash)

# Sets sandbox to the command that runs another one in fresh namespaces; empty where the kernel refuses all of them.
# Privilege is tried, not guessed from the uid: root in a container may have none, an ordinary user may have enough.
find_sandbox() {
	local user
	for user in '' '--user --map-root-user'; do
		# shellcheck disable=SC2206  # two words on purpose
		sandbox=(setpriv --pdeathsig KILL unshare $user "${fresh[@]}")
		"${sandbox[@]}" true 2>/dev/null && return
	done
	sandbox=()
	echo 'no fresh namespaces for this user: tests that need one will skip, or fail where NETDEVNS_REQUIRE asks for it'
}

# Runs pytest with that Python in several processes, each in namespaces of its own: tests write to /run, and look for
# processes. The kernel makes them wait more than half of the time, so that there are three for each processor, or as many as
# `workers` says.
#
#     pytest_in_parallel PYTHON ARGUMENT...
pytest_in_parallel() {
	local python=$1 sandbox each=()
	find_sandbox
	((${#sandbox[@]} == 0)) || each=(setpriv --pdeathsig KILL unshare "${fresh[@]}") # in the outer ones it is root
	"${sandbox[@]}" "$python" -m pytest --dist worksteal \
		--tx "$((${workers-3} * $(nproc)))*popen//python=$(printf '%q ' "${each[@]}" "$python")" "${@:2}"
}

# Takes the place of this shell: a command in fresh namespaces, with an empty /run.
in_sandbox() {
	# Bundles lie in a tmpfs of the sandbox's own: gone with it, however it ends. (Not on /tmp: the checkout may lie there.)
	export TMPDIR=$cache/scene
	mkdir -p "$TMPDIR"
	# shellcheck disable=SC2016  # expanded by the inner shell
	exec setpriv --pdeathsig KILL unshare "${fresh[@]}" bash -c 'mount -t tmpfs tmpfs "$TMPDIR" && exec "$@"' bash "$@"
}
