"""What the kernel refuses, as an exception."""


class EngineError(Exception):
    """A step or an exchange of the engine failed: what `MoveFailed` and the findings are made from.

    Attributes:
        errno: Positive.
        extack: The kernel's text, or the engine's own; may be empty.
        step: "open", "exchange", "snapshot", "move", "replay", "verify", "undo" or "watch".
        index: Which message of the request was refused, from 0.
    """

    def __init__(self, errno: int, extack: str, step: str, index: int = 0) -> None:
        super().__init__(errno, extack, step, index)
        self.errno = errno
        self.extack = extack
        self.step = step
        self.index = index
