"""Generators and checks of this repository's files, and the set-up of its environment: what `make` runs besides tests.

What runs the lake on this machine is in `local`. Nothing in here is imported by what ships.
"""
