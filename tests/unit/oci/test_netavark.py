"""The netavark plugin's protocol: what is answered, what is refused, and the plugin's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.errors import ConfigInvalid
from netdevns.oci import netavark

CONTAINER = "0123456789ab" + "c" * 52


def network(**more: Any) -> dict[str, Any]:
    """A network as podman 5.8.6 passes it to `create`."""
    made = {"name": "nic1", "id": "1" * 64, "driver": "netdevns", "created": "2026-11-30T09:01:57Z"}
    made |= {"ipv6_enabled": False, "internal": False, "dns_enabled": True, "options": {"device": "eth1"}}
    return made | more


def request(
    container: dict[str, Any] | None = None, options: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """A request as netavark 1.17.2 makes it for `setup`."""
    absent = dict.fromkeys(("network_interface", "ipam_options", "subnets", "routes", "network_dns_servers"))
    given = {
        "aliases": ["0123456789ab"],
        "interface_name": "net0",
        "static_ips": None,
        "static_mac": None,
        "options": None,
    }
    whole = network(options={"device": "eth1"} | (options or {})) | absent
    made = {"container_id": CONTAINER, "container_name": "c1", "port_mappings": None, "network": whole}
    return made | {"network_options": given | (container or {})} | more


def started(*words: str, stdin: bytes = b"", **environment: str) -> tuple[int, Any, str]:
    """The plugin: exit code, answer, stderr."""
    argv = [sys.executable, "-m", "netdevns", "netavark", *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False, env=os.environ | environment)
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


# ---- create ----------------------------------------------------------------------------------------------------------


def test_create_changes_dns_only() -> None:
    """Name, id and driver must come back unchanged; there is no DNS server in such a network."""
    assert netavark.create(network()) == network(dns_enabled=False)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"subnets": [{"subnet": "10.9.0.0/24"}]}, "nic1: --subnet is refused: eth1 keeps the addresses"),
        ({"ipv6_enabled": True}, "nic1: --ipv6 is refused"),
        ({"internal": True}, "nic1: --internal is refused: what eth1 reaches is not restricted"),
        ({"routes": [{"destination": "10.1.0.0/24"}]}, "nic1: --route is refused: routes are not made"),
        ({"network_dns_servers": ["192.0.2.1"]}, "nic1: --dns is refused"),
        ({"network_interface": "eth1"}, "nic1: --interface-name is refused: write --opt device=eth1"),
        ({"ipam_options": {"driver": "dhcp"}}, "nic1: --ipam-driver is refused"),
        ({"options": None}, "nic1: the device is missing: write --opt device=eth1"),
        ({"options": {"device": "eth1", "mtu": "9000"}}, "nic1: --opt mtu: unknown option"),
        ({"options": {"device": "all"}}, "nic1: --opt device=all: no device can have that name"),
        (
            {"options": {"device": "eth1", "name": "a/b"}},
            "nic1: --opt name=a/b: no device can have that name: it contains",
        ),
        ({"options": {"device": "eth1", "name": "x%s"}}, "nic1: --opt name=x%s"),
        ({"options": {"device": "eth1", "preserve": "routes,x"}}, 'nic1: --opt preserve: unknown kind "x"'),
        ({"options": {"device": "eth1", "force": "maybe"}}, "nic1: --opt force: write true or false"),
        ({"options": {"device": 1}}, "options.device: a string is needed, not 1"),
        ({"options": []}, "network.options: an object is needed, not an array"),
        ({"name": ""}, "network.name: a string is needed"),
    ],
)
def test_networks_that_are_refused(more: dict[str, Any], words: str) -> None:
    """Nothing is invented, and nothing is ignored that was asked for."""
    with pytest.raises(ConfigInvalid) as e:
        netavark.create(network(**more))
    assert words in str(e.value)


def test_options_that_are_allowed() -> None:
    """`--ipam-driver none` asks for what is done; a name may be a template."""
    options = {"device": "eth1", "name": "net%d", "preserve": "routes,sysctls", "force": "true"}
    made = netavark.create(network(options=options, ipam_options={"driver": "none"}))
    assert made["options"] == options


# ---- setup -----------------------------------------------------------------------------------------------------------


def test_what_a_container_gets() -> None:
    """The device, its name, and a loan that is unique for the container and the network."""
    found = netavark.attachment(request(options={"preserve": "routes", "force": "true"}))
    assert found == netavark.Attachment(
        f"{CONTAINER}:nic1", "nic1", "eth1", "net0", frozenset({"routes"}), force=True, addresses=(), mac=""
    )


@pytest.mark.parametrize(
    ("options", "given", "wanted"),
    [
        ({}, "eth0", "eth0"),
        ({}, "net0", "net0"),
        ({"name": "net7"}, "eth0", "net7"),
        ({"name": "net7"}, "eth12", "net7"),
        ({"name": "net7"}, "net0", "net0"),
        ({"name": "net7"}, "eth1x", "eth1x"),
    ],
)
def test_name_in_the_container(options: dict[str, str], given: str, wanted: str) -> None:
    """--opt name replaces a name of the form that podman chooses, and no other."""
    assert netavark.attachment(request({"interface_name": given}, options)).wanted == wanted


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (request(port_mappings=[{"container_port": 80}]), "nic1: a port (--publish) is refused: each port is open"),
        (request({"options": {"mtu": "1"}}), "nic1: an option behind the network's name is refused"),
        (request({"static_ips": "10.0.0.1"}), "network_options.static_ips: an array of strings is needed"),
        (request({"static_mac": 1}), "network_options.static_mac: a string is needed"),
        (request({"interface_name": None}), "network_options.interface_name: a string is needed"),
        (request(options={"mtu": "1"}), "nic1: --opt mtu: unknown option"),
        (request(network=network(subnets=[{}])), "nic1: --subnet is refused"),
        (request(container_id=""), "stdin.container_id: a string is needed"),
        (request(network_options=3), "stdin.network_options: an object is needed, not 3"),
        ({}, "network.name: a string is needed, not null"),
    ],
)
def test_containers_that_are_refused(made: dict[str, Any], words: str) -> None:
    """Also where podman's file of the network was changed since `create`."""
    with pytest.raises(ConfigInvalid) as e:
        netavark.attachment(made)
    assert words in str(e.value)


# ---- the protocol ----------------------------------------------------------------------------------------------------


def test_info() -> None:
    """The version of netdevns, and of the plugin API."""
    assert started("info") == (0, {"version": netdevns.__version__, "api_version": "1.0.0"}, "")


def test_create_by_the_command() -> None:
    """JSON on stdin, JSON on stdout."""
    assert started("create", stdin=json.dumps(network()).encode()) == (0, network(dns_enabled=False), "")


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("create",), b"", "stdin of the netavark plugin: not valid JSON"),
        (("create",), b"[1]", "stdin of the netavark plugin: a JSON object is needed, not an array"),
        (("create",), b"\xff\xfe", "stdin of the netavark plugin: not valid JSON"),
        (("setup", "/nosuch"), b"[" * 100_000, "stdin of the netavark plugin: not valid JSON"),
        (("teardown", "/nosuch"), b"{}", "stdin.container_id: a string is needed"),
        (("setup",), b"{}", "netavark: setup: unknown request; known are create"),
        (("create", "x"), b"{}", "netavark: create x: unknown request"),
        (("check",), b"{}", "netavark: check: unknown request"),
    ],
)
def test_requests_that_make_no_sense(words: tuple[str, ...], stdin: bytes, said: str) -> None:
    """An error in one line as JSON on stdout, nothing on stderr, and the exit code of a refusal."""
    code, answer, err = started(*words, stdin=stdin)
    assert (code, [*answer], err) == (2, ["error"], "")
    assert said in answer["error"]
    assert answer["error"].endswith("; nothing was touched")


def test_too_large_an_input() -> None:
    """As a hook's state: 16 MiB."""
    code, answer, _ = started("create", stdin=b" " * ((16 << 20) + 1))
    assert (code, answer["error"]) == (2, "stdin of the netavark plugin: larger than 16 MiB; nothing was touched")


def test_missing_core() -> None:
    """A request that moves a device says so in JSON; `create` and `info` need no compiled core."""
    hidden = (
        "import sys; sys.modules['netdevns._core'] = None; sys.argv[0] = 'netdevns'; "
        "from netdevns.cli.main import program; sys.exit(program())"
    )
    for words, stdin, code in (
        (["create"], network(), 0),
        (["setup", "/nosuch"], request(), 1),
        (["teardown", "/nosuch"], request(), 1),
    ):
        argv = [sys.executable, "-c", hidden, "netavark", *words]
        native = os.environ | {"NETDEVNS_ENGINE": "native"}
        done = subprocess.run(argv, input=json.dumps(stdin), capture_output=True, text=True, check=False, env=native)
        assert done.returncode == code, done
        assert ("error" in json.loads(done.stdout)) == bool(code)


# ---- the plugin's file -----------------------------------------------------------------------------------------------


def test_install_and_uninstall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An executable file, the one that is printed; it starts this installation, wherever it is called."""
    assert main(["netavark"]) == 0
    printed = capsys.readouterr().out
    assert main(["netavark", "--install", "--dir", str(tmp_path)]) == 0
    plugin = tmp_path / "netdevns"
    wrote, configuration = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {plugin}"
    assert configuration == f'containers.conf needs, in [network]: netavark_plugin_dirs = ["{tmp_path}"]'
    assert (plugin.read_text(), plugin.stat().st_mode & 0o7777) == (printed, 0o755)
    done = subprocess.run([plugin, "info"], env={}, cwd="/", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["api_version"] == "1.0.0"
    assert main(["netavark", "--install", "--dir", str(tmp_path)]) == 0
    assert main(["netavark", "--uninstall", "--dir", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


def test_file_of_another_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is neither replaced nor removed."""
    plugin = tmp_path / "netdevns"
    plugin.write_text("#!/bin/sh\n")
    for action in "--install", "--uninstall":
        assert main(["netavark", action, "--dir", str(tmp_path)]) == 2
        assert "netdevns did not write this file" in capsys.readouterr().err
    assert plugin.read_text() == "#!/bin/sh\n"


def test_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """podman would start as root what another user could replace."""
    tmp_path.chmod(0o777)
    assert main(["netavark", "--install", "--dir", str(tmp_path)]) == 2
    assert "other users may write to it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
