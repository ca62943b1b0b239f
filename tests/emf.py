"""Metrics in logs, read as CloudWatch reads them: its embedded metric format."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Datapoint:
    """One value of a metric. `dimensions` are names and values, sorted by name."""

    namespace: str
    name: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    at: datetime
    value: float

    def of(self, dimension: str) -> str | None:
        """The value of a dimension."""
        return dict(self.dimensions).get(dimension)


def datapoints(lines: Iterable[str]) -> Iterator[Datapoint]:
    """Every value in the lines that are in the embedded metric format; other lines are passed over."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        document = json.loads(line)
        at = datetime.fromtimestamp(document["_aws"]["Timestamp"] / 1000, UTC)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = tuple(sorted((name, document[name]) for name in names))
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        yield Datapoint(directive["Namespace"], metric["Name"], metric["Unit"], dimensions, at, value)
