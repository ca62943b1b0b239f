"""The AWS emulator: its process, and our corrections of ministack where it differs from AWS.

What belongs here stands in for AWS itself. The stack, its deployment and its samples do not.
"""

from local.emulator.process import (
    ACCOUNT,
    APPLICATION,
    ENVIRONMENTS,
    FAULTY,
    REGION,
    ROOT,
    Emulator,
    EmulatorError,
    running,
)

__all__ = [
    "ACCOUNT",
    "APPLICATION",
    "ENVIRONMENTS",
    "FAULTY",
    "REGION",
    "ROOT",
    "Emulator",
    "EmulatorError",
    "running",
]
