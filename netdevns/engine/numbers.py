"""What both engines share: the numbers of netdevns-core.h."""

PLACE_UNKNOWN, PLACE_SOURCE, PLACE_TARGET, PLACE_GONE = range(4)
RETURN, RESTORE = 1, 2
# What was read of a device: its RTM_NEWLINK, and its RTM_NEWADDR messages.
Read = tuple[bytes, bytes | memoryview]
