"""What both engines share: the numbers of netdevns.h."""

PLACE_UNKNOWN, PLACE_SOURCE, PLACE_TARGET, PLACE_GONE = range(4)
RETURN, RESTORE = 1, 2
