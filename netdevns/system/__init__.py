"""What of this machine is not netlink: namespaces, processes, signals, locks, files from others."""
