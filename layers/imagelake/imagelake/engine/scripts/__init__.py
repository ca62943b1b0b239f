"""Scripts: how they are run in the confined process, and the checks on what they return.

The provided scripts themselves are in `layers/scripts`.
"""
