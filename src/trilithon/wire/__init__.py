"""Floor 1: the protocols as state machines over bytes; no socket, no clock, no loop, no thread."""
