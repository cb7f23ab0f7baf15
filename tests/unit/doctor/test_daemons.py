"""udev, networkd and NetworkManager: files that would rename or configure a device that comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netdevns.doctor import daemons
from netdevns.doctor.devices import Wanted
from netdevns.doctor.host import Nic

from .made import Tree, said, worse

MAC = "02:00:00:00:00:01"
NIC = Nic("eth1", 7, "", MAC, MAC)
ETC, LIB = "/etc/systemd/network", "/usr/lib/systemd/network"
DEFAULT = "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel database onboard slot path\n"
DAEMONS = {
    "udev": "/usr/lib/systemd/systemd-udevd",
    "networkd": "/lib/systemd/systemd-networkd",
    "NM": "/usr/sbin/NetworkManager",
}


def examined(tree: Tree, daemon: str, nic: Nic | None = NIC, name: str = "eth1") -> list[str]:
    """The findings about a device that is called net0 in its container."""
    tree.process(7, DAEMONS[daemon], "--no-daemon")
    return worse(daemons.check(tree.host(), {name: Wanted(name, ["net0"], ["/etc/cdi/x.json"], nic)}))


def assert_found(text: str, tree: Tree, daemon: str, files: dict[str, str], *, begin: str = "warning eth1: ") -> None:
    """With these files there is one finding, which begins so and contains the text; none if that is empty."""
    for path, content in files.items():
        tree.write(path, content)
    found = examined(tree, daemon)
    assert len(found) == bool(text)
    assert all(each.startswith(begin) and text in each for each in found)


def test_nothing_runs(tree: Tree) -> None:
    """Without a daemon no file matters."""
    tree.write(f"{ETC}/10-x.link", f"[Match]\nMACAddress={MAC}\n[Link]\nName=other\n")
    assert [*daemons.check(tree.host(), {"eth1": Wanted("eth1", [], [], NIC)})] == []


@pytest.mark.parametrize("daemon", DAEMONS)
def test_no_device_is_known(daemon: str, tree: Tree) -> None:
    """It is named, and nothing is wrong."""
    tree.process(7, DAEMONS[daemon])
    (found,) = said(daemons.check(tree.host(), {"eth1": Wanted("eth1")}))
    assert found.startswith("ok ")
    assert "no device known here" in found


# ---- udev ----------------------------------------------------------------------------------------------------------

LINKS = {
    "none": ({}, ""),
    "the default": ({f"{LIB}/99-default.link": DEFAULT}, ""),
    "its own name": ({f"{ETC}/10-a.link": f"[Match]\nPermanentMACAddress={MAC}\n[Link]\nName=eth1\n"}, ""),
    "another name": (
        {f"{ETC}/10-a.link": f"[Match]\nPermanentMACAddress={MAC}\n[Link]\nName=lan0\n"},
        f"udev renames it to lan0 by {ETC}/10-a.link when it comes back",
    ),
    "by the name in the container": (
        {f"{ETC}/10-a.link": "[Match]\nOriginalName=net*\n[Link]\nName=lan0\n"},
        f"udev renames it to lan0 by {ETC}/10-a.link",
    ),
    "another device": ({f"{ETC}/10-a.link": "[Match]\nMACAddress=02:00:00:00:00:02\n[Link]\nName=lan0\n"}, ""),
    "a list": (
        {f"{ETC}/10-a.link": f"[Match]\nMACAddress=02:00:00:00:00:02 {MAC.upper()}\n[Link]\nName=lan0\n"},
        "lan0",
    ),
    "the first counts": (
        {f"{LIB}/20-b.link": f"[Match]\nMACAddress={MAC}\n[Link]\nName=lan0\n", f"{ETC}/10-a.link": DEFAULT},
        "",
    ),
    "hidden by /etc": (
        {f"{LIB}/10-a.link": f"[Match]\nMACAddress={MAC}\n[Link]\nName=lan0\n", f"{ETC}/10-a.link": ""},
        "",
    ),
    "a drop-in": (
        {f"{LIB}/10-a.link": DEFAULT, f"{ETC}/10-a.link.d/x.conf": "[Link]\nNamePolicy=\nName=lan0\n"},
        "lan0",
    ),
    "no keep": ({f"{ETC}/10-a.link": "[Match]\nType=ether\n[Link]\nNamePolicy=path mac\n"}, "by NamePolicy=path mac"),
    "by a driver": ({f"{ETC}/10-a.link": "[Match]\nDriver=igb\n[Link]\nName=lan0\n"}, ""),
    "not by its name": ({f"{ETC}/10-a.link": "[Match]\nOriginalName=!net0 x\n[Link]\nName=lan0\n"}, ""),
    "a rule": (
        {"/etc/udev/rules.d/70-net.rules": f'# x\nSUBSYSTEM=="net", ATTR{{address}}=="{MAC}", NAME="lan0"\n'},
        "udev renames it to lan0 by /etc/udev/rules.d/70-net.rules",
    ),
    "a comment": (
        {"/etc/udev/rules.d/70-net.rules": f'#SUBSYSTEM=="net", ATTR{{address}}=="{MAC}", NAME="lan0"\n'},
        "",
    ),
}


@pytest.mark.parametrize(("files", "text"), LINKS.values(), ids=LINKS)
def test_udev(files: dict[str, str], text: str, tree: Tree) -> None:
    """The first .link file that matches counts: systemd.link(5)."""
    assert_found(text, tree, "udev", files)


def test_predictable_name(tree: Tree) -> None:
    """A policy gives a device the name that it had by that policy."""
    tree.write(f"{ETC}/10-a.link", "[Match]\nOriginalName=*\n[Link]\nNamePolicy=path\n")
    assert examined(tree, "udev", Nic("enp3s0f1", 7, "", MAC), "enp3s0f1") == []


# ---- networkd ------------------------------------------------------------------------------------------------------

NETWORKS = {
    "none": ({}, ""),
    "by its name": (
        {f"{ETC}/20-x.network": "[Match]\nName=eth*\n[Network]\nDHCP=yes\n"},
        f"as eth1, by {ETC}/20-x.network",
    ),
    "by the name in the container": (
        {f"{ETC}/20-x.network": "[Match]\nName=net0\n[Network]\nDHCP=yes\n"},
        f"as net0, by {ETC}/20-x.network",
    ),
    "all of a type": ({f"{LIB}/80-x.network": "[Match]\nType=ether\nName=*\n[Network]\nDHCP=yes\n"}, "as eth1"),
    "without [Match]": ({f"{ETC}/20-x.network": "[Network]\nDHCP=yes\n"}, "as eth1"),
    "unmanaged": (
        {
            f"{ETC}/10-x.network": f"[Match]\nMACAddress={MAC}\n[Link]\nUnmanaged=yes\n",
            f"{ETC}/20-x.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n",
        },
        "",
    ),
    "unmanaged by one name only": (
        {
            f"{ETC}/10-x.network": "[Match]\nName=eth1\n[Link]\nUnmanaged=yes\n",
            f"{ETC}/20-x.network": "[Match]\nName=*\n[Network]\nDHCP=yes\n",
        },
        "as net0",
    ),
    "another kind": ({f"{ETC}/20-x.network": "[Match]\nKind=veth\n[Network]\nDHCP=yes\n"}, ""),
}


@pytest.mark.parametrize(("files", "text"), NETWORKS.values(), ids=NETWORKS)
def test_networkd(files: dict[str, str], text: str, tree: Tree) -> None:
    """It configures a device that the first matching .network file does not leave alone."""
    assert_found(text, tree, "networkd", files, begin="warning eth1: networkd configures it, ")


# ---- NetworkManager ------------------------------------------------------------------------------------------------

NM = "/etc/NetworkManager/conf.d/90-x.conf"
NM_CASES = {
    "none": ({}, "NetworkManager configures it"),
    "by its MAC": ({NM: f"[keyfile]\nunmanaged-devices=mac:{MAC}\n"}, ""),
    "a list": ({NM: f"[keyfile]\nunmanaged-devices=interface-name:br*;mac:{MAC.upper()}\n"}, ""),
    "all": ({NM: "[keyfile]\nunmanaged-devices=*\n"}, ""),
    "all but": ({NM: f"[keyfile]\nunmanaged-devices=*,except:mac:{MAC}\n"}, "NetworkManager configures it"),
    "by its name": ({NM: "[keyfile]\nunmanaged-devices=interface-name:eth1\n"}, "when it is called net0"),
    "by both": ({NM: "[keyfile]\nunmanaged-devices=interface-name:eth*;interface-name:=net0\n"}, ""),
    "by a device section": ({NM: f"[device-x]\nmatch-device=mac:{MAC}\nmanaged=0\n"}, ""),
    "another device section": ({NM: "[device-x]\nmatch-device=type:wifi\nmanaged=0\n"}, "NetworkManager configures it"),
    "overridden": (
        {
            "/usr/lib/NetworkManager/conf.d/10.conf": "[keyfile]\nunmanaged-devices=*\n",
            NM: "[keyfile]\nunmanaged-devices=\n",
        },
        "NetworkManager configures it",
    ),
    "added to": (
        {NM: f"[keyfile]\nunmanaged-devices=mac:{MAC}\n", NM.replace("90", "95"): "[keyfile]\nunmanaged-devices+=x\n"},
        "",
    ),
    "hidden": (
        {"/usr/lib/NetworkManager/conf.d/90-x.conf": "[keyfile]\nunmanaged-devices=*\n", NM: ""},
        "NetworkManager configures it",
    ),
    "by a udev rule": ({"/run/udev/data/n7": "I:1\nE:NM_UNMANAGED=1\n"}, ""),
}


@pytest.mark.parametrize(("files", "text"), NM_CASES.values(), ids=NM_CASES)
def test_network_manager(files: dict[str, str], text: str, tree: Tree) -> None:
    """It manages each Ethernet device that no file takes from it: NetworkManager.conf(5)."""
    assert_found(text, tree, "NM", files)


def snippets() -> dict[str, str]:
    """The files of docs/daemons.md: path -> content."""
    page = (Path(__file__).parents[3] / "docs/daemons.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`(/etc/[^`]+)`[^`]*\n\n```ini\n(.*?)```", page, re.DOTALL))


def test_files_of_the_page(tree: Tree) -> None:
    """Those for older versions satisfy all three; without the .link file's Property=, which udev 252 ignores."""
    configured = "[Match]\nName=*\n[Network]\nDHCP=yes\n"
    for path, content in {**snippets(), f"{ETC}/20-x.network": configured}.items():
        tree.write(path, content)
    tree.program("/usr/bin/udevadm", "252 (252.39-1~deb12u1)")
    assert len(snippets()) == 3
    assert [*examined(tree, "udev"), *examined(tree, "networkd"), *examined(tree, "NM")] == []


@pytest.mark.parametrize(("version", "count"), [("257 (257.8-1~deb13u2)", 0), ("252 (252.39-1~deb12u1)", 2), ("", 2)])
def test_one_file_of_the_page(version: str, count: int, tree: Tree) -> None:
    """It satisfies all three from udev 256 on; an unknown version counts as older."""
    link = f"{ETC}/10-netdevns-eth1.link"
    tree.write(link, snippets()[link])
    tree.write(f"{ETC}/20-x.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")
    if version:
        tree.program("/usr/bin/udevadm", version)
    assert examined(tree, "udev") == []
    assert len([*examined(tree, "networkd"), *examined(tree, "NM")]) == count
