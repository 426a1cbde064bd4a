"""Floor 4: one serving process: the loaded application, its lifespan, the drivers and the sentinel."""
