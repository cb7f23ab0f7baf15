"""What both engines share: the error, and the numbers of netdevns.h."""

PLACE_UNKNOWN, PLACE_SOURCE, PLACE_TARGET, PLACE_GONE = range(4)
RETURN, RESTORE = 1, 2


class EngineError(Exception):
    """A step or an exchange failed.

    Attributes:
        errno: Positive.
        extack: The kernel's text, or the engine's own; may be empty.
        step: "open", "exchange", "snapshot", "move", "replay", "verify" or "undo".
        index: Which message of the request was refused, from 0.
    """

    def __init__(self, errno: int, extack: str, step: str, index: int = 0) -> None:
        super().__init__(errno, extack, step, index)
        self.errno = errno
        self.extack = extack
        self.step = step
        self.index = index
