"""Real proxies in front of a real server, in the configurations that the documentation shows."""
