"""What a dashboard is made of: rows of panels, which show lines.

A `${Name}` in a text is a parameter of the nested stack, as in `Fn::Sub`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from imagelake.metrics import SERVICE, AwsMetric, Metric

type View = Literal["timeSeries", "singleValue", "bar"]

# Colours say what a line means, on both dashboards.
GOOD: Final = "#2ca02c"
NEUTRAL: Final = "#1f77b4"
REFUSED: Final = "#ff7f0e"
BAD: Final = "#d62728"
ASIDE: Final = "#7f7f7f"
OTHERS: Final = ("#1f77b4", "#9467bd", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f", "#393b79")
"""Of lines that mean nothing good or bad by themselves, in this order."""

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400


@dataclass(frozen=True)
class Line:
    """A metric of the registry.

    Args:
        metric: that is shown.
        label: in the legend.
        stat: a statistic of CloudWatch.
        of: the values of its dimensions other than `service`.
        colour: `#rrggbb`.
        id: by which math of the same panel knows it.
        is_shown: whether it is drawn, and not for math only.
    """

    metric: Metric | AwsMetric
    label: str
    stat: str = "Sum"
    of: Mapping[str, str] = field(default_factory=dict)
    colour: str | None = None
    id: str | None = None
    is_shown: bool = True

    @property
    def dimensions(self) -> dict[str, str]:
        """Names and values.

        Raises:
            KeyError: `of` has no value for one.
        """
        return {name: self.of[name] if name != SERVICE else "${LakeName}" for name in self.metric.dimensions}


@dataclass(frozen=True)
class Each:
    """A line for each value that the dimension `metric.by` has had; those that never occurred are not drawn."""

    metric: Metric
    stat: str = "Sum"

    def search(self, period: int) -> str:
        """The expression that finds them."""
        dimensions = ",".join((self.metric.namespace, *self.metric.dimensions))
        wanted = f'{{{dimensions}}} MetricName="{self.metric.name}" service="${{LakeName}}"'
        return f"SEARCH('{wanted}', '{self.stat}', {period})"


@dataclass(frozen=True)
class Math:
    """A line that CloudWatch computes of others in the panel: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html."""

    expression: str
    label: str
    colour: str | None = None
    id: str | None = None
    is_shown: bool = True


@dataclass(frozen=True)
class Mark:
    """A horizontal line: a limit, or where an alarm rings."""

    value: float
    label: str


@dataclass(frozen=True)
class Panel:
    """One graph. `title` is the question that it answers, `unit` what its axis counts."""

    title: str
    lines: tuple[Line | Each | Math, ...]
    unit: str = ""
    width: int = 8
    height: int = 6
    period: int = MINUTE
    view: View = "timeSeries"
    stacked: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Alarms:
    """The states of alarms. `names` is a parameter: their ARNs, joined by `","`."""

    title: str
    names: str
    width: int = 24
    height: int = 3


@dataclass(frozen=True)
class Text:
    """Markdown."""

    markdown: str
    width: int = 24
    height: int = 1


@dataclass(frozen=True)
class Dashboard:
    """All of it. `since` is the time that is shown at first, as an ISO 8601 duration."""

    name: str
    since: str
    rows: tuple[tuple[Panel | Alarms | Text, ...], ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """The graphs."""
        return (one for row in self.rows for one in row if isinstance(one, Panel))

    @property
    def metrics(self) -> set[Metric | AwsMetric]:
        """All that are shown, or that math needs."""
        return {line.metric for panel in self.panels for line in panel.lines if not isinstance(line, Math)}
