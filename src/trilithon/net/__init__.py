"""Floor 3: the engine, its connections, listeners and deadlines; the only floor with sockets and the clock."""
