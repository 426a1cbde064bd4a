"""Tests of the wire floor: the corpus over sockets, the state machine alone, limits and mutation."""
