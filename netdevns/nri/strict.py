"""Makes the files by which containerd and CRI-O start the hook that refuses containers of pods without their devices.

Source: containerd, docs/cri/config.md (base_runtime_spec, pod_annotations); oci-hooks(5).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ..errors import ConfigInvalid
from ..oci import config_json, hook_line, hooks_dir, install
from ..oci.hook_line import Refused
from ..system import inputs
from ..text.output import complain

RUNTIMES = ("containerd", "cri-o")
FOLDER, BASE, FILE = "/etc/containerd", "/etc", "netdevns-spec.json"
HOOK_FILE = "netdevns-nri.json"  # below hooks_dir.FOLDER
SPEC = "stdin of --strict containerd"
PIPE = "ctr oci spec | netdevns nri --strict containerd --allow GLOB"
NEEDS = (
    "config.toml needs, for each runtime below plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes: "
    'base_runtime_spec = "{path}" and pod_annotations = ["org.netdevns.*"]'
)


def offer(args: argparse.Namespace) -> int:
    """Shows, installs or removes the file for a runtime; returns the exit code.

    Args:
        args: `strict`: one of RUNTIMES; `allow`; `action` and `dir` as for `install.offer`.
    """
    is_containerd = args.strict == "containerd"
    name, default = (FILE, (FOLDER, BASE)) if is_containerd else (HOOK_FILE, (hooks_dir.FOLDER, hooks_dir.BASE))

    def make() -> Mapping[str, object]:
        hook = _hook(args.allow, is_installed=args.action == "install")
        return {name: base_spec(_spec(), hook) if is_containerd else hooks_dir.document(hook, "createRuntime")}

    code = install.offer(args, default, lambda: [name], make, is_ours)
    if code == 0 and is_containerd and args.action != "uninstall":
        complain([NEEDS.format(path=f"{args.dir or FOLDER}/{FILE}")], 0)
    return code


def _hook(allowed: Sequence[str], *, is_installed: bool) -> dict[str, object]:
    """Raises Refused, as `hook_line.program`, or a glob is not UTF-8."""
    words = hook_line.program(is_installed=is_installed, starter="each container's start")
    return hook_line.entry(words, "nri", "--hook", *(word for glob in allowed for word in ("--allow", glob)))


def _spec() -> Mapping[str, object]:
    """The spec that containerd would use, from stdin. Raises Refused."""
    try:
        data = b"" if sys.stdin is None or sys.stdin.isatty() else inputs.stdin(SPEC)
        document = config_json.parse(data, SPEC) if data else {}
    except ConfigInvalid as e:
        raise Refused(str(e)) from None
    if not isinstance(document.get("ociVersion"), str):
        raise Refused(f"{SPEC}: containerd's default runtime-spec is needed: {PIPE}")
    return document


def base_spec(spec: Mapping[str, object], hook: Mapping[str, object]) -> dict[str, object]:
    """A runtime-spec with the hook, instead of an earlier one, and without rlimits. Raises Refused: it is malformed.

    `ctr oci spec` has RLIMIT_NOFILE 1024, which containerd's CRI drops unless it gets a base_runtime_spec.
    """
    hooks = spec.get("hooks") or {}
    before = hooks.get("createRuntime") or [] if isinstance(hooks, Mapping) else None
    if not isinstance(hooks, Mapping) or not isinstance(before, list):
        raise Refused(f"{SPEC}: hooks.createRuntime: an array is needed")
    process = spec.get("process") or {}
    if not isinstance(process, Mapping):
        raise Refused(f"{SPEC}: process: an object is needed")
    spec = {**spec, "process": {key: value for key, value in process.items() if key != "rlimits"}}
    return {**spec, "hooks": {**hooks, "createRuntime": [hook, *(each for each in before if not _is_hook(each))]}}


def is_ours(parsed: object) -> bool:
    """Whether a file was made by `base_spec`, or is a hooks.d file with this hook."""
    if not isinstance(parsed, Mapping):
        return False
    hooks = parsed.get("hooks")
    of_spec = hooks.get("createRuntime") if isinstance(hooks, Mapping) else None
    return any(_is_hook(each) for each in [parsed.get("hook"), *(of_spec if isinstance(of_spec, list) else [])])


def _is_hook(hook: object) -> bool:
    args = hook.get("args") if isinstance(hook, Mapping) else None
    return isinstance(args, list) and ["nri", "--hook"] in [args[i : i + 2] for i in range(len(args))]
