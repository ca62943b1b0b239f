"""Datapoints of metrics, and how CloudWatch finds them in logs: its embedded metric format."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Datapoint:
    """One value of a metric. `dimensions` are names and values, sorted by name; `at` is seconds since 1970."""

    namespace: str
    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    at: float
    value: float

    def of(self, dimension: str) -> str | None:
        """The value of a dimension."""
        return dict(self.dimensions).get(dimension)


def in_logs(lines: Iterable[str]) -> Iterator[Datapoint]:
    """Every value in the lines that are in the embedded metric format; other lines are passed over."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        document = json.loads(line)
        at = document["_aws"]["Timestamp"] / 1000
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = tuple(sorted((name, document[name]) for name in names))
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        yield Datapoint(directive["Namespace"], metric["Name"], metric["Unit"], dimensions, at, value)
