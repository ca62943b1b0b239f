"""What is on the dashboard: sheets of charts, each of one named query."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, model_validator

from local.emulator import ROOT

DEFINITION: Final = ROOT / "analytics" / "dashboard" / "dashboard.yaml"
GRID_COLUMNS: Final = 36
"""Cells in a row of QuickSight's grid."""
IDENTIFYING: Final = frozenset(
    {
        "image_id", "source_ref", "sha256", "phash", "taken_at", "gps_lat", "gps_lon", "uploader", "script_output",
        "tags", "derivatives",
    }
)  # fmt: skip
"""Columns that lead to one image or one person. No chart shows them: query results outlive what they were made from."""

type ColumnType = Literal["STRING", "INTEGER", "DECIMAL", "DATETIME"]
"""Types of columns, as QuickSight names them."""
type Columns = Mapping[str, ColumnType]
"""The columns of a query with their types, in order."""
type Kind = Literal["kpi", "line", "area", "column", "bar", "heatmap", "table"]
type Aggregate = Literal["sum", "max", "mean", "count"]


class _Shape(NamedTuple):
    """Which of its fields a kind of chart has to have (True), may have (None) or must not have (False)."""

    x: bool
    y: bool
    series: bool | None
    columns: bool
    largest_first: bool = False


_SHAPES: Final[dict[Kind, _Shape]] = {
    "kpi": _Shape(x=False, y=True, series=False, columns=False),
    "line": _Shape(x=True, y=True, series=None, columns=False),
    "area": _Shape(x=True, y=True, series=None, columns=False),
    "column": _Shape(x=True, y=True, series=None, columns=False),
    "bar": _Shape(x=True, y=True, series=None, columns=False),
    "heatmap": _Shape(x=True, y=True, series=True, columns=False),
    "table": _Shape(x=False, y=False, series=False, columns=True, largest_first=True),
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Show(_Model):
    """A column of the query's answer: its title, with the unit, and how its values are summed up and written."""

    column: str
    title: str
    aggregate: Aggregate = "sum"
    decimals: Annotated[int, Field(ge=0, le=6)] = 0


class Chart(_Model):
    """One drawing of the answer to one query.

    `x` and `series` divide, `y` measures; a heat map has `series` as its rows and `y` as its colour. A bar chart lies,
    a column chart stands; both stack, and so does an area. A table has `columns` only. `width` and `height` are cells
    of the grid. `limit` is how many bars there are at most, largest first.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    query: str
    kind: Kind
    width: Annotated[int, Field(ge=1, le=GRID_COLUMNS)]
    height: Annotated[int, Field(ge=1, le=21)]
    x: Show | None = None
    y: tuple[Show, ...] = ()
    y_title: str | None = None
    series: Show | None = None
    columns: tuple[Show, ...] = ()
    largest_first: str | None = None
    scale: Literal["linear", "log"] = "linear"
    limit: Annotated[int, Field(ge=1)] | None = None

    @property
    def shown(self) -> tuple[Show, ...]:
        """Everything of the answer that is shown."""
        return tuple(one for one in (self.x, self.series, *self.y, *self.columns) if one)

    @model_validator(mode="after")
    def _has_the_shape_of_its_kind(self) -> Self:
        for name, wanted in _SHAPES[self.kind]._asdict().items():
            if wanted is not None and bool(getattr(self, name)) != wanted:
                raise ValueError(f"chart {self.id}: a {self.kind} {'needs' if wanted else 'has no'} {name}")
        if len(self.y) > 1 and (self.kind != "line" or self.series or not self.y_title):
            raise ValueError(f"chart {self.id}: several y are for a line without series, under a y_title")
        if self.largest_first and self.largest_first not in {show.column for show in self.columns}:
            raise ValueError(f"chart {self.id}: it is sorted by {self.largest_first}, which it does not show")
        return self

    @model_validator(mode="after")
    def _shows_what_its_query_answers(self, info: ValidationInfo) -> Self:
        queries: Mapping[str, Columns] = (info.context or {})["queries"]
        if self.query not in queries:
            raise ValueError(f"chart {self.id}: there is no query {self.query}; there are {', '.join(queries)}")
        columns = queries[self.query]
        for one in self.shown:
            if one.column not in columns:
                raise ValueError(
                    f"chart {self.id}: {self.query} has no column {one.column}; it has {', '.join(columns)}"
                )
            if one.column in IDENTIFYING:
                raise ValueError(f"chart {self.id}: {one.column} leads to one image or person")
        for measure in self.y:
            if columns[measure.column] not in ("INTEGER", "DECIMAL"):
                raise ValueError(f"chart {self.id}: {measure.column} is {columns[measure.column]}, not a number")
        return self


class Sheet(_Model):
    """A page of charts, which flow from left to right and on to the next row."""

    title: str
    charts: Annotated[tuple[Chart, ...], Field(min_length=1, max_length=50)]

    @property
    def rows(self) -> list[list[Chart]]:
        """The charts as they lie side by side."""
        rows: list[list[Chart]] = [[]]
        for chart in self.charts:
            if sum(one.width for one in rows[-1]) + chart.width > GRID_COLUMNS:
                rows.append([])
            rows[-1].append(chart)
        return rows


class Dashboard(_Model):
    """The whole of it."""

    title: str
    sheets: Annotated[tuple[Sheet, ...], Field(min_length=1, max_length=20)]

    @property
    def charts(self) -> list[Chart]:
        """The charts of all sheets."""
        return [chart for sheet in self.sheets for chart in sheet.charts]

    @model_validator(mode="after")
    def _names_every_chart_once(self) -> Self:
        twice = [name for name, times in Counter(chart.id for chart in self.charts).items() if times > 1]
        if twice:
            raise ValueError(f"there are several charts {', '.join(twice)}")
        return self


def read(queries: Mapping[str, Columns], file: Path = DEFINITION) -> Dashboard:
    """The dashboard that `file` describes, for these named queries.

    Raises:
        ValidationError: a chart is not of its kind, or shows what its query does not answer or what nobody may see.
    """
    return Dashboard.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")), context={"queries": queries})
