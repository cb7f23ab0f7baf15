"""The limits of all inputs and of the log; docs/limits.md lists them.

A hook runs as root at every container's start, and must end soon for any contents of a bundle or of /run. An input
beyond its limit is refused in one line before anything is touched; it is never truncated and used.
"""

# A hook's state on stdin, and a config.json. Runtimes write less than 100 KB; parsed, JSON can take 50 times its size.
STATE_BYTES = CONFIG_BYTES = 16 << 20
# In one move, from all sources together. Each costs several look-ups and, where it fails, a line.
DEVICES = 4096
# Requested by the annotations of one document, whose author may not be the operator.
ANNOTATED = 256
# Of a runtime, with such annotations, that the NRI plugin settles when it connects: kubelet starts 110 on a node.
PODS = 4096
# Of a container's id, with the name of its network or pod; the kernel's longest attribute has 64 KiB.
CONTAINER_BYTES = 4096
# A record of a move, or a loan: enough for some 200,000 routes of one batch.
RECORD_BYTES = 16 << 20

# The report of one failed hook, in each of stderr, hook.log and syslog. Time stamps are not counted.
LINES = 64
LINE_BYTES = 400
# Characters of a quoted name or value; longer ones are shortened. Every alternative name fits.
QUOTED = 128
# hook.log, and the same for hook.log.old: together 512 KiB of a /run that may have 16 MiB.
LOG_BYTES = 256 << 10
