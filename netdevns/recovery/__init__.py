"""Records of moves and loans to containers: written to outlive a process, recovered and returned by others."""
