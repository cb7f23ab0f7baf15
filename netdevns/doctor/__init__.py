"""Finds out why a container has no network device, and changes nothing."""
