"""Generators and checks of this repository: what `make` runs besides tests."""
