"""The metrics of the process that runs scripts: a log line each, of which CloudWatch makes a metric.

`imagelake.metrics` has them in its registry. A library for them would be a tenth of a cold start, and this module is
imported by a process that is about to start again.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

NAMESPACE: Final = "ImageLake"
COLD_STARTS: Final = "ColdStarts"
MEASURES_MISSING: Final = "MeasuresMissing"
ENVIRONMENTS_GIVEN_UP: Final = "EnvironmentsGivenUp"
SCRIPT_FAILURES: Final = "ScriptFailures"
SCRIPT_FAILURES_OF_ALL: Final = "ScriptFailuresOfAllVersions"
VERSION: Final = "version"
"""The dimension of what is counted by version of the function."""


def write(name: str, value: int, message: str, details: Mapping[str, Any] | None = None, *, by: str = "") -> None:
    """Write the line of a metric that counts something. Its format is CloudWatch's embedded metric format.

    `by` is a dimension besides `service`, whose value is in `details`.
    """
    described = {
        "Namespace": NAMESPACE,
        "Dimensions": [["service", by] if by else ["service"]],
        "Metrics": [{"Name": name, "Unit": "Count"}],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [described]},
        "message": message,
        "service": os.environ.get("POWERTOOLS_SERVICE_NAME", ""),
        name: value,
    }
    sys.stdout.write(json.dumps(line | dict(details or {})) + "\n")
