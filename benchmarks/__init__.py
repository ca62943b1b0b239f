"""Measurements, not tests: each package is run with `python -m` and prints a table."""
