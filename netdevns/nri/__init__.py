"""The NRI plugin: devices for the pods of containerd and CRI-O."""
