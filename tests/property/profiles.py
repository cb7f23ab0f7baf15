"""How often a property is tried: in seconds by default, four times as often with NETDEVNS_PROFILE=long (the full run).

Both are the same examples each time: what fails there was changed. With NETDEVNS_ATTACK=long they are random ones, many
of them; a failure prints a `reproduce_failure` line that brings its example back anywhere. What Hypothesis stores lies
in .cache of the checkout.
"""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase

STORE = Path(__file__).resolve().parents[2] / ".cache" / "hypothesis"
ATTACK = os.environ.get("NETDEVNS_ATTACK") == "long"
PROFILE = "long" if ATTACK else os.environ.get("NETDEVNS_PROFILE", "short")


def load() -> None:
    """Makes the profile of the environment the one that runs. Raises InvalidArgument for one that there is not."""
    set_hypothesis_home_dir(STORE)
    settings.register_profile(
        "short",
        deadline=None,  # the machine may be busy, and the kernel takes its time
        derandomize=not ATTACK,
        print_blob=True,
        database=DirectoryBasedExampleDatabase(STORE / "examples") if ATTACK else None,
        # A slow machine is no reason to fail, and a namespace that an example cleans may outlive it.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.register_profile("long", parent=settings.get_profile("short"))
    settings.load_profile(PROFILE)


def examples(short: int, long: int) -> settings:
    """How many examples a property runs, as what one costs differs a thousandfold.

    Args:
        short: In the default run; four times as many in the full one.
        long: In the attack.
    """
    return settings(max_examples=long if ATTACK else min(4 * short, long) if PROFILE == "long" else short)
