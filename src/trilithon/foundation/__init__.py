"""Floor 0: errors, limits, options and the leaf of raw system calls; imports nothing of the project."""
