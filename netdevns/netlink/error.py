"""The exception for a failed netlink exchange or step."""


class EngineError(Exception):
    """A step or an exchange of the engine failed. `MoveFailed` and findings are made from it.

    Attributes:
        errno: Positive.
        extack: The kernel's extended ack text, or the engine's own; may be empty.
        step: "open", "exchange", "snapshot", "move", "replay", "verify", "undo" or "watch".
        index: The refused message of the request, counted from 0.
    """

    def __init__(self, errno: int, extack: str, step: str, index: int = 0) -> None:
        super().__init__(errno, extack, step, index)
        self.errno = errno
        self.extack = extack
        self.step = step
        self.index = index
