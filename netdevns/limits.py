"""Every limit of an input and of a log, in one place; docs/limits.md has them in a table.

A hook runs as root on every container's start, and must end soon whatever is in a bundle or below /run. An input beyond
its limit is refused in one line, before anything was touched; it is never cut and used.
"""

# A hook's state on stdin, and a config.json. Runtimes write less than 100 KB; parsed, JSON can take 50 times its size.
STATE_BYTES = CONFIG_BYTES = 16 << 20
# Of one move, from all sources together. Each is several look-ups and, where it fails, a line.
DEVICES = 4096
# Devices that annotations of one document ask for: the author of these is perhaps not the operator.
ANNOTATED = 256
# A record of a move, or a loan: some 200,000 routes of one batch.
RECORD_BYTES = 16 << 20

# The report of one failed hook, on stderr, in hook.log and in syslog each. A line's time stamp is not counted.
LINES = 64
LINE_BYTES = 400
# A name or a value that a message quotes, in characters; longer ones are shortened. No alternative name is as long.
QUOTED = 128
# hook.log and the one old file beside it, each: together half of 1 MiB on a /run that may have 16 MiB.
LOG_BYTES = 256 << 10
