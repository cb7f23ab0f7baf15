# shellcheck shell=bash
# The set-up that the commands in this folder share; sourced, never run.
#
#     setup EXTRAS TOOL...      e.g. setup test,bench ip runc
#
# sees to it that the TOOLs exist (through apt, which only root may run), that .venv holds this checkout with the
# EXTRAS of pyproject.toml, and that the compiled core is that of today's csrc/. A stamp in .venv makes a repeated call
# cheap. Nothing is written outside of the checkout, except by apt. Where pip and apt fetch from is the machine's
# business: neither is configured here.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
cache=$root/.cache
export MPLCONFIGDIR=$cache/matplotlib # its list of fonts, which it keeps in the home otherwise
log=$cache/setup.log
stamp=$venv/netdevns-stamp

# A core with sanitizers is built elsewhere (tools/sanitize), never into the checkout.
unset NETDEVNS_SANITIZE

# An ordinary user's PATH on Debian has no sbin, where runc and modprobe live.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() {
	local status=$1
	shift
	say "$@"
	exit "$status"
}

# Runs a command of a set-up step, its output in the log only; a failure ends everything with one line and the tail.
logged() {
	local what=$1
	shift
	say "$what"
	printf '\n$ %s\n' "$*" >>"$log"
	"$@" >>"$log" 2>&1 </dev/null && return
	say "FAILED: $what; the end of ${log#"$root"/}:"
	tail -n 25 "$log" | cut -c 1-200 | sed 's/^/    /' >&2
	exit 1
}

# --- system packages ------------------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null; }

# Missing is decided by trying, not by the names of installed packages: a tool from elsewhere is as good.
tool_works() {
	case $1 in
	busybox) # it has to run in an empty root file system, so a program interpreter named in its ELF header is too much
		has busybox && ! head -c 4096 "$(command -v busybox)" | grep -aq /ld- ;;
	ip) # busybox has an `ip`, too, without -json
		[[ $(ip -V 2>&1) == *iproute2* ]] ;;
	clang-rt) # the sanitizers' libraries, which Debian only recommends with clang
		has clang && clang -fsanitize=address -x c -o "$cache/probe" - <<<'int main(void) { return 0; }' 2>/dev/null &&
			rm "$cache/probe" ;;
	go-netlink) # a library; its package has nothing to run
		[[ -d /usr/share/gocode/src/github.com/vishvananda/netlink ]] ;;
	libltdl) # a macro of it, for libffi's configure
		[[ -e /usr/share/aclocal/ltdl.m4 ]] ;;
	*) has "$1" ;;
	esac
}

tool_package() {
	case $1 in
	ip) echo iproute2 ;;
	busybox) echo busybox-static ;;
	modprobe) echo kmod ;;
	unshare | setpriv | taskset) echo util-linux ;;
	ps) echo procps ;;
	clang++) echo clang ;;
	clang-rt) echo libclang-rt-dev ;;
	llvm-symbolizer) echo llvm ;; # names the functions in what a sanitizer or libFuzzer reports
	go) echo golang-go ;;
	go-netlink) echo golang-github-vishvananda-netlink-dev ;;
	musl-gcc) echo musl-tools ;;
	dpkg-deb) echo dpkg ;;
	groff) echo groff-base ;;
	autoreconf) echo autoconf ;;
	aclocal) echo automake ;;
	libtoolize) echo libtool ;;
	libltdl) echo libltdl-dev ;;
	*) echo "$1" ;;
	esac
}

packages_of_missing() {
	local tool
	for tool in "$@"; do
		tool_works "$tool" || tool_package "$tool"
	done | sort -u
}

compiler_works() {
	local probe=$cache/probe.so status=0
	printf '#include <stdio.h>\n#include <linux/rtnetlink.h>\n' |
		gcc -shared -fPIC -x c -o "$probe" - >>"$log" 2>&1 || status=$?
	rm -f "$probe"
	return "$status"
}

# Prints "EXECUTABLE [venv] [dev]": the real interpreter, never a shim, and what the build of an extension would miss.
probe_python() {
	"$1" -I - 2>/dev/null <<-'END'
		import os, sys
		if sys.version_info < (3, 11):
		    sys.exit(1)
		found = [getattr(sys, "_base_executable", sys.executable)]
		try:
		    import ensurepip, venv
		except ImportError:
		    found.append("venv")
		try:
		    import sysconfig
		    header = os.path.join(sysconfig.get_path("include"), "Python.h")
		except ImportError:
		    header = ""
		if not os.path.exists(header):
		    found.append("dev")
		print(*found)
	END
}

# Sets python to the first complete interpreter of PATH, or leaves it empty and sets python_packages to what apt could
# add: the rest of the distribution's own Python (only that one can be completed by packages), or all of it.
find_python() {
	local name path found
	python='' python_packages=()
	for name in python3 /usr/bin/python3 python3.{15..11}; do
		path=$(command -v "$name") || continue
		found=$(probe_python "$path") || continue
		read -ra found <<<"$found"
		if ((${#found[@]} == 1)); then
			python=${found[0]}
			return
		fi
		if [[ $path == /usr/bin/* && ${#python_packages[@]} == 0 ]]; then
			python_packages=("${found[@]:1}")
			python_packages=("${python_packages[@]/#/"${path##*/}-"}")
		fi
	done
	((${#python_packages[@]})) || python_packages=("$(apt_python)" "$(apt_python)"-{venv,dev})
}

# The distribution's python3, or its python3.11 where python3 is older (Ubuntu 22.04). Needs apt's lists.
apt_python() {
	local candidate
	candidate=$(LC_ALL=C apt-cache policy python3 2>/dev/null | sed -n 's/^ *Candidate: *//p')
	if [[ $candidate == [0-9]* ]] && dpkg --compare-versions "$candidate" lt 3.11; then
		echo python3.11
	else
		echo python3
	fi
}

apt_update() {
	say 'apt-get update'
	printf '\n$ apt-get update\n' >>"$log"
	# A broken third-party source makes it fail and may not matter: the installation decides.
	apt-get -q update >>"$log" 2>&1 </dev/null || say 'apt-get update had errors; going on'
}

apt_install() {
	logged "apt-get install $*" env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
	hash -r
}

# Sets missing to the packages that the TOOLs and, where something has to be built, the build lack.
find_missing() {
	local build=$1
	shift
	mapfile -t missing < <(packages_of_missing "$@")
	[[ $build ]] || return 0
	compiler_works || missing+=(gcc libc6-dev)
	find_python
	[[ $python ]] || missing+=("${python_packages[@]}")
}

install_packages() {
	local missing=()
	find_missing "$@"
	((${#missing[@]})) || return 0
	has apt-get || fail 2 "no apt-get here; please install what Debian calls ${missing[*]}"
	if ((EUID)); then
		say 'system packages are missing; please run'
		printf '    sudo apt-get update && sudo apt-get install --no-install-recommends %s\n' "${missing[*]}" >&2
		exit 2
	fi
	apt_update
	find_missing "$@" # again: only with apt's lists does it see which Python there is
	apt_install "${missing[@]}"
	find_missing "$@"
	((${#missing[@]} == 0)) || fail 1 "installed, but still not working: ${missing[*]} (see ${log#"$root"/})"
}

# --- .venv and the compiled core ------------------------------------------------------------------------------------

# The stamp's four lines: what .venv, its packages, the compiled core were made from, and which extras are in.
python_key() { "$venv/bin/python" -I -S -c 'import sys; print(sys.argv[1], sys.version)' "$root" 2>/dev/null | digest; }
project_key() { digest "$root"/{pyproject.toml,setup.py}; }
core_key() { digest "$root"/csrc/*.[ch] "$root"/csrc/*.py; }
digest() { sha256sum -- "$@" | sha256sum | cut -c 1-16; }

# Prints what has to be done for the EXTRAS: venv, packages, core, or nothing.
what_is_stale() {
	local extras=$1 lines=() extra
	[[ -f $stamp ]] && mapfile -t lines <"$stamp"
	if [[ ${lines[0]-} != "$(python_key)" ]]; then
		echo venv
		return
	fi
	for extra in ${extras//,/ }; do
		if [[ ",${lines[3]-}," != *",$extra,"* ]]; then
			echo packages
			return
		fi
	done
	if [[ ${lines[1]} != "$(project_key)" ]]; then
		echo packages
	elif [[ ${lines[2]} != "$(core_key)" ]] || ! compgen -G "$root/netdevns/*.so" >/dev/null; then
		echo core
	fi
}

# The machine's own configuration counts; only what would break a venv, or leave files outside of the checkout, is off.
pip_install() {
	local what=$1
	shift
	PIP_USER=0 PIP_CACHE_DIR=${PIP_CACHE_DIR-$cache/pip} \
		logged "$what" "$venv/bin/python" -I -m pip install --disable-pip-version-check --no-input --progress-bar off "$@"
}

build_requirements() {
	"$venv/bin/python" -I -c '
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")' "$root/pyproject.toml"
}

make_venv() {
	rm -rf "$venv"
	logged "making .venv with $python" "$python" -I -m venv "$venv"
}

# Compiled without pip's build isolation: a second compile then needs neither the network nor a new environment.
install_checkout() {
	local extras=$1 requirements=()
	mapfile -t requirements < <(build_requirements)
	pip_install 'installing the build tools into .venv' "${requirements[@]}"
	build_core "installing netdevns${extras:+[$extras]} into .venv" --editable "$root${extras:+[$extras]}"
}

# The build looks at the times of the C files only, never at those of the headers: so nothing old may lie about.
build_core() {
	local what=$1
	shift
	rm -rf "$root"/netdevns/*.so "$root"/build/{lib,temp}.*
	# The finder of other editable installations takes each start of Python twice as long: 22 ms of processor time, 11 without.
	pip_install "$what" --no-build-isolation --config-settings editable_mode=compat "$@"
}

# Extras already in .venv stay, so that demo and test do not undo each other's work.
merge_extras() {
	local lines=()
	[[ -f $stamp ]] && mapfile -t lines <"$stamp"
	tr , '\n' <<<"$1,${lines[3]-}" | sed '/^$/d' | sort -u | paste -sd ,
}

setup() {
	local extras=$1 stale project core
	shift
	stale=$(what_is_stale "$extras")
	[[ ! $stale && ! $(packages_of_missing "$@") ]] && return

	[[ -w $root && (! -e $venv || -w $venv) ]] || fail 1 "$(id -un) cannot write to $root and its .venv"
	mkdir -p "$cache"
	# Two runs at the same time take turns; the second one then finds little to do.
	exec 9>"$cache/setup.lock"
	flock 9
	: >"$log"
	stale=$(what_is_stale "$extras")
	install_packages "$stale" "$@"
	# Taken before the build: a file that is saved meanwhile counts as newer.
	project=$(project_key) core=$(core_key)
	case $stale in
	venv)
		make_venv
		install_checkout "$extras"
		;;
	packages)
		extras=$(merge_extras "$extras")
		install_checkout "$extras"
		;;
	core)
		extras=$(merge_extras "$extras")
		build_core 'compiling csrc/' --no-deps --editable "$root"
		;;
	esac
	[[ ! $stale ]] || printf '%s\n' "$(python_key)" "$project" "$core" "$extras" >"$stamp"
	exec 9>&-
}
