"""The operating system apart from netlink: namespaces, processes, signals, locks and untrusted files."""
