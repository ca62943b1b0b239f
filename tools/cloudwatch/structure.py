"""What CloudWatch takes as the body of a dashboard, of the parts that are used here, and how much of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Dashboard-Body-Structure.html on structure,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html on widgets and metrics,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html on ids,
https://aws.amazon.com/cloudwatch/pricing/ on what is free. `setPeriodToTimeRange`, which makes one number of all the
time that is shown, is documented with the CDK: aws_cloudwatch.SingleValueWidgetProps.
"""

import re
from itertools import combinations
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_WIDGETS: Final = 500
MOST_METRICS: Final = 500
"""Of a graph, expressions among them."""
MOST_METRICS_IN_ALL: Final = 2500
MOST_BYTES: Final = 200_000
"""No limit of the body is documented; what CloudFormation takes for a whole template, 1 MB, is more."""
FREE_METRICS: Final = 50
"""Of a dashboard that is free, as the first three of an account are."""
COLUMNS: Final = 24

type Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
type Period = Annotated[int, Field(ge=60, multiple_of=60)]
type Stat = Annotated[str, Field(pattern=r"^(SampleCount|Average|Sum|Minimum|Maximum|p\d{1,2}(\.\d+)?)$")]
type Id = Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9_]*$")]
type Side = Literal["left", "right"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Annotation(_Part):
    value: float
    label: str | None = None
    color: Colour | None = None
    fill: Literal["above", "below", "none"] | None = None
    visible: bool | None = None
    yAxis: Side | None = None  # noqa: N815  # CloudWatch's name


class _Annotations(_Part):
    horizontal: list[_Annotation]


class _Axis(_Part):
    label: str | None = None
    min: float | None = None
    max: float | None = None
    showUnits: bool | None = None  # noqa: N815


class _Axes(_Part):
    left: _Axis | None = None
    right: _Axis | None = None


class Rendering(_Part):
    """The last of an entry of `metrics`; of an expression, the only one."""

    expression: str | None = None
    label: str | None = None
    id: Id | None = None
    color: Colour | None = None
    stat: Stat | None = None
    period: Period | None = None
    visible: bool | None = None
    yAxis: Side | None = None  # noqa: N815


class MetricProperties(_Part):
    """A graph."""

    title: str
    region: str
    view: Literal["timeSeries", "singleValue", "bar", "pie", "gauge", "table"]
    metrics: Annotated[list[list[str | Rendering]], Field(min_length=1, max_length=MOST_METRICS)]
    period: Period
    stat: Stat | None = None
    stacked: bool | None = None
    sparkline: bool | None = None
    setPeriodToTimeRange: bool | None = None  # noqa: N815
    liveData: bool | None = None  # noqa: N815
    timezone: Annotated[str, Field(pattern=r"^[+-]\d{4}$")] | None = None
    legend: dict[Literal["position"], Literal["right", "bottom", "hidden"]] | None = None
    yAxis: _Axes | None = None  # noqa: N815
    annotations: _Annotations | None = None

    @model_validator(mode="after")
    def _entries(self) -> Self:
        ids = []
        for entry in self.metrics:
            texts = [one for one in entry if isinstance(one, str)]
            options = entry[-1] if isinstance(entry[-1], Rendering) else Rendering()
            if len(texts) + isinstance(entry[-1], Rendering) != len(entry):
                raise ValueError("options come last in an entry")
            if (options.expression is None) is (not texts):
                raise ValueError("an entry is a metric or an expression")
            if texts and (len(texts) < 2 or len(texts) % 2):
                raise ValueError(f"{texts}: namespace, name, and pairs of dimensions")
            if not all(texts):
                raise ValueError(f"{texts}: none is empty")
            ids += [options.id] if options.id else []
        if len(set(ids)) < len(ids):
            raise ValueError("ids are unique in a graph")
        for entry in self.metrics:
            if isinstance(entry[-1], Rendering) and (expression := entry[-1].expression):
                _known(expression, ids)
        return self


def _known(expression: str, ids: list[str]) -> None:
    """Check that an expression uses ids that its graph has.

    Raises:
        ValueError: it uses another.
    """
    bare = re.sub(r"\$\{\w+\}|'[^']*'", "0", expression)
    if unknown := set(re.findall(r"\b[a-z]\w*", bare)) - set(ids):
        raise ValueError(f"{expression}: there is no {', '.join(sorted(unknown))}")


class AlarmProperties(_Part):
    """States of alarms."""

    title: str | None = None
    alarms: Annotated[list[str], Field(min_length=1, max_length=100)]
    sortBy: Literal["default", "stateUpdatedTimestamp", "timestamp"] | None = None  # noqa: N815
    states: list[Literal["ALARM", "INSUFFICIENT_DATA", "OK"]] | None = None


class TextProperties(_Part):
    """Markdown."""

    markdown: str
    background: Literal["solid", "transparent"] | None = None


class _Placed(_Part):
    x: Annotated[int, Field(ge=0, lt=COLUMNS)]
    y: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1, le=COLUMNS)]
    height: Annotated[int, Field(ge=1, le=1000)]


class MetricWidget(_Placed):
    """A graph and its place."""

    type: Literal["metric"]
    properties: MetricProperties


class AlarmWidget(_Placed):
    """Alarms and their place."""

    type: Literal["alarm"]
    properties: AlarmProperties


class TextWidget(_Placed):
    """A text and its place."""

    type: Literal["text"]
    properties: TextProperties


class Body(_Part):
    """All of it."""

    start: Annotated[str, Field(pattern=r"^-P(T\d+[MH]|\d+[DWM])$")]
    periodOverride: Literal["auto", "inherit"]  # noqa: N815
    widgets: Annotated[
        list[Annotated[MetricWidget | AlarmWidget | TextWidget, Field(discriminator="type")]],
        Field(max_length=MOST_WIDGETS),
    ]

    @model_validator(mode="after")
    def _places(self) -> Self:
        for one in self.widgets:
            if one.x + one.width > COLUMNS:
                raise ValueError(f"a widget at {one.x}, {one.y} is beyond the grid")
        for one, other in combinations(self.widgets, 2):
            beside = one.x + one.width <= other.x or other.x + other.width <= one.x
            below = one.y + one.height <= other.y or other.y + other.height <= one.y
            if not (beside or below):
                raise ValueError(f"widgets at {one.x}, {one.y} and {other.x}, {other.y} overlap")
        return self

    @property
    def entries(self) -> int:
        """How many metrics and expressions there are."""
        return sum(len(one.properties.metrics) for one in self.widgets if one.type == "metric")

    @property
    def metrics(self) -> set[tuple[str, ...]]:
        """Each metric once: namespace, name, and pairs of dimensions."""
        graphs = (one for one in self.widgets if isinstance(one, MetricWidget))
        texts = (
            tuple(text for text in entry if isinstance(text, str)) for one in graphs for entry in one.properties.metrics
        )
        return {text for text in texts if text}


def check(text: str) -> Body:
    """A body that CloudWatch takes.

    Raises:
        ValueError: it does not; or the dashboard would not be free.
    """
    found: Any = Body.model_validate_json(text)
    sizes = {
        "bytes": (len(text.encode()), MOST_BYTES),
        "metrics and expressions": (found.entries, MOST_METRICS_IN_ALL),
        "different metrics": (len(found.metrics), FREE_METRICS),
    }
    for what, (size, most) in sizes.items():
        if size > most:
            raise ValueError(f"{size} {what}, {most} at most")
    checked: Body = found
    return checked
