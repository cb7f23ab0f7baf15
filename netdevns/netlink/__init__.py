"""The kernel's rtnetlink: its constants, its messages, and a plain socket. Knows nothing of moves."""
