"""Example applications for Trilithon; each folder stands by itself and says how it is run."""
