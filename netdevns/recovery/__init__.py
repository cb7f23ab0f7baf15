"""What outlives a process: records of moves, loans to containers; what undoes and ends them."""
