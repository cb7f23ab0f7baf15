"""JSON without the start-up of `json`, which imports re and enum: half the time of a hook that has nothing to do.

The scanner is `json`'s own, the part of it that is C. `json` itself is loaded where there is none of that, and for
whatever is not plain: another encoding, an error and its words.
"""

from __future__ import annotations

from .. import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeGuard

_WHITE = " \t\n\r"


class _Options:
    """What the scanner reads of a `json.JSONDecoder`."""

    strict = True
    object_hook = None
    array_hook = None  # asked for since Python 3.15
    parse_float = float
    parse_int = int

    def __init__(self, pairs_hook: Callable[[list[tuple[str, Any]]], Any]) -> None:
        self.object_pairs_hook = pairs_hook
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> float:
        """NaN, Infinity and -Infinity, which `json` takes, too."""
        return float(name)


def loads(data: bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    """json.loads(data, object_pairs_hook=pairs_hook), with the same results and the same errors."""
    try:
        return _plain(data, pairs_hook)
    except (AttributeError, ImportError, StopIteration, SystemError, TypeError, ValueError):
        # SystemError: the scanner's own errors are those of json.decoder, which is not there to raise them.
        # AttributeError: the scanner of a Python to come may ask for one more option.
        import json
    # Outside of the handler, whose exception keeps the objects of the first try: perhaps most of the memory there is.
    return json.loads(data, object_pairs_hook=pairs_hook)


def _plain(data: bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    from _json import make_scanner

    if 0 in data[:4] or data[:1] in (b"\xef", b"\xfe", b"\xff"):  # UTF-16, UTF-32, or a byte order mark
        raise ValueError
    text = data.decode("utf-8", "surrogatepass")
    found, end = make_scanner(_Options(pairs_hook))(  # type: ignore[arg-type]  # any object with these attributes
        text, len(text) - len(text.lstrip(_WHITE))
    )
    if text[end:].strip(_WHITE):
        raise ValueError
    return found


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether it is a JSON object: a dict as parsed, or what a caller has instead."""
    if isinstance(value, dict):
        return True
    from collections.abc import Mapping  # which loads all of `collections`

    return isinstance(value, Mapping)


def kind(value: object) -> str:
    """A JSON value's type, with the value where it is short; for a message."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        import json

        shown = json.dumps(value)
        return shown if len(shown) <= limits.QUOTED else f"a number of {len(shown)} digits"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
