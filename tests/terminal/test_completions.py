"""What the shells complete, asked of the shells: commands, options, devices, namespaces."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import Namespace
from tests.support.require import require

SHARE = Path(__file__).parents[2] / "share"

# COMPREPLY, as bash makes it of the words so far; with what readline splits words at.
BASH = r"""
source {share}/bash-completion/completions/netdevns
function=$(complete -p netdevns | sed 's/.*-F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() {{ :; }}
"$function" netdevns
printf '%s\n' "${{COMPREPLY[@]}}"
"""
# An interactive zsh: the line is typed, then a tab, then a key that shows the line.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D
  bindkey "^I" complete-word; show() {{ print -r -- "<<$BUFFER>>"; BUFFER=; zle accept-line }}; zle -N show
  bindkey "^X" show; print -r -- "<<""ready>>"'
zpty -r shell out '*<<ready>>*'
zpty -w -n shell "$1"$'\t\x18'
zpty -r shell out '*<<*>>*'
zpty -d shell
print -r -- "${{${{out##*<<}}%>>*}}"
"""
FISH = "source {share}/fish/vendor_completions.d/netdevns.fish; complete -C $argv[1]"


def ask(shell: str, *command: str) -> str:
    if shutil.which(shell) is None:
        require("shells", f"there is no {shell}; tools/test installs it")
    # HOME: none of the user's own settings.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run([shell, *command], capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.stderr == "", done.stderr
    return done.stdout


def bash(line: str) -> set[str]:
    words = shlex.split(line, posix=False) + [""] * line.endswith(" ")
    return set(ask("bash", "--norc", "-c", BASH.format(share=SHARE), "bash", *words).split("\n")) - {""}


def zsh(line: str) -> set[str]:
    """What the line's last word became: zsh completes as far as there is one way."""
    shown = ask("zsh", "-f", "-c", ZSH.format(share=SHARE), "zsh", line).strip()
    return {shown.split(" ")[-1].removesuffix(",")}  # which zsh takes away again when a blank follows


def fish(line: str) -> set[str]:
    shown = ask("fish", "--no-config", "-c", FISH.format(share=SHARE), line).splitlines()
    return {candidate.split("\t")[0] for candidate in shown}


SHELLS = pytest.mark.parametrize("complete", [bash, zsh, fish], ids=["bash", "zsh", "fish"])


@pytest.fixture(autouse=True)
def names(host: Namespace) -> Iterator[None]:
    """Devices veth1, veth2 and one with a dangerous name; /run/netns/blue and green."""
    host.ip("link add veth1 type veth peer name veth2")
    host.ip("link add x$(id>&2) type veth peer name other")
    folder = Path("/run/netns")
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    files = [folder / name for name in ("blue", "green")]
    for file in files:
        file.touch()
    yield
    for file in files:
        file.unlink()
    if made:
        folder.rmdir()


@pytest.mark.sampled(4)
@SHELLS
@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("netdevns mo", "move"),
        ("netdevns move veth2", "veth2"),
        ("netdevns move veth1 oth", "other"),
        ("netdevns move veth1 --to bl", "blue"),
        ("netdevns move veth1 --to blue oth", "other"),
        ("netdevns move veth1 --to /et", "/etc"),
        ("netdevns move veth1 --pre", "--preserve"),
        ("netdevns move veth1 --preserve sy", "sysctls"),
        ("netdevns check veth1 --to blue --from gr", "green"),
        ("netdevns show --netns gr", "green"),
        ("netdevns apply --bundle /et", "/etc"),
        ("netdevns apply --config /etc/passw", "/etc/passwd"),
        ("netdevns hook cre", "createRuntime"),
        ("netdevns hook createRuntime oth", "other"),
        ("netdevns conformance var", "varies"),
        ("netdevns conformance --format kt", "ktap"),
    ],
)
def test_word_is_completed(complete: Callable[[str], set[str]], line: str, word: str) -> None:
    """What has been typed has one end."""
    found = {candidate.rstrip("/") for candidate in complete(line)}
    assert word in found
    assert all(candidate.startswith(line.split()[-1]) for candidate in found)


@SHELLS
def test_second_kind_is_completed(complete: Callable[[str], set[str]]) -> None:
    """After a comma comes another kind."""
    (word,) = complete("netdevns move veth1 --preserve sysctls,rou")
    assert word.endswith("routes")


@SHELLS
def test_name_is_never_run(complete: Callable[[str], set[str]]) -> None:
    """A device's name that is shell code is offered, quoted where the shell's line will have it, and not run."""
    (word,) = complete("netdevns show x")  # what is run would write to stderr
    assert word == ("x$(id>&2)" if complete is fish else r"x\$\(id\>\&2\)")


@pytest.mark.parametrize("complete", [bash, fish], ids=["bash", "fish"])
def test_all_devices_and_namespaces_are_offered(complete: Callable[[str], set[str]]) -> None:
    """Each device but lo, and each namespace, where nothing has been typed yet."""
    assert {"veth1", "veth2", "other"} <= complete("netdevns move ")
    assert "lo" not in complete("netdevns move ")
    assert {"blue", "green"} <= complete("netdevns move veth1 --to ")
