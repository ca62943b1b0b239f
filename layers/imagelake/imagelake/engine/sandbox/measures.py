"""The measures that confine a script, each of which a kernel may refuse: AWS Lambda's refuses most."""

from enum import StrEnum


class Measure(StrEnum):
    """What confines a script. The values are those of logs and of `imagelake doctor --json`."""

    HIDDEN = "hidden"
    SUBREAPER = "subreaper"
    PARENT_DEATH_SIGNAL = "parent_death_signal"
    CAPABILITIES = "capabilities"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    FILTER = "filter"
    FILES = "files"
    LIMITS = "limits"
