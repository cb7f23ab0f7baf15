"""Constants of netdevns-core.h that both engines share."""

PLACE_UNKNOWN, PLACE_SOURCE, PLACE_TARGET, PLACE_GONE = range(4)
RETURN, RESTORE = 1, 2
# A device as read: its RTM_NEWLINK, and its RTM_NEWADDR messages.
Read = tuple[bytes, bytes | memoryview]
