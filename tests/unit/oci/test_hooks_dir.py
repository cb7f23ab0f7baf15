"""`netdevns hooks-dir`: the contents of the files, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from netdevns.cli.main import main
from netdevns.oci import hooks_dir
from netdevns.oci.hook_line import Refused


def test_each_stage_has_a_file() -> None:
    """oci-hooks(5), 1.0.0: one command line a file; createRuntime's has the globs, poststop's has none."""
    made = hooks_dir.documents(["eth*", "mv?"])
    assert {name: (d["version"], d["stages"]) for name, d in made.items()} == {
        "netdevns-createRuntime.json": ("1.0.0", ["createRuntime"]),
        "netdevns-poststop.json": ("1.0.0", ["poststop"]),
    }
    lines = {d["stages"][0]: d["hook"]["args"] for d in made.values()}
    assert {stage: args[args.index("hook") + 1 :] for stage, args in lines.items()} == {
        "createRuntime": ["createRuntime", "--allow", "eth*", "--allow", "mv?"],
        "poststop": ["poststop"],
    }
    for document in made.values():
        assert set(document) == {"version", "hook", "when", "stages"}
        assert document["hook"]["path"] == document["hook"]["args"][0]
        assert document["hook"]["timeout"] > 0


def test_only_containers_that_ask_start_it() -> None:
    """The key is a regular expression that matches netdevns's annotations and no similar ones."""
    for document in hooks_dir.documents(["eth*"]).values():
        ((key, value),) = document["when"]["annotations"].items()
        assert re.search(key, "org.netdevns.device.eth1")
        assert re.search(value, "net0")
        for other in "org-netdevns-device-eth1", "x.org.netdevns.device.eth1", "org.netdevns.devices":
            assert not re.search(key, other)


@pytest.mark.thorough
def test_install_and_uninstall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The installed files are the printed ones; other globs replace them, and --uninstall removes them."""
    assert main(["hooks-dir", "--allow", "eth1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for glob in "mv*", "eth1":
        assert main(["hooks-dir", "--allow", glob, "--install", "--dir", str(tmp_path)]) == 0
    assert {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()} == printed
    assert main(["hooks-dir", "--uninstall", "--dir", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    out, err = capsys.readouterr()
    assert out.count("wrote ") == 4
    assert out.count("removed ") == 2
    assert err == ""


def test_warning_without_a_glob(capsys: pytest.CaptureFixture[str]) -> None:
    """Without globs the files are written, with a warning that no container gets a device."""
    assert main(["hooks-dir"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err == "netdevns: without --allow no container gets a device by annotation\n"


@pytest.mark.parametrize(("glob", "said"), [("", "the glob is empty"), ("eth\udcff", r"eth\xff: not UTF-8")])
def test_refused_globs(glob: str, said: str) -> None:
    """An empty glob matches nothing; JSON requires UTF-8."""
    with pytest.raises(Refused) as e:
        hooks_dir.documents(["eth1", glob])
    assert said in str(e.value)
