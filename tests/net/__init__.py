"""Tests of the net floor: connections, time-outs, capacity, stopping."""
