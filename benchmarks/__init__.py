"""Measure what a request costs trilithon and its peers, side by side in one run."""
