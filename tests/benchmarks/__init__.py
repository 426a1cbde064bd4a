"""Tests of the benchmark: a wrong ruler measures everything wrong."""
