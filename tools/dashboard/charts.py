"""The charts of the dashboard, drawn with Vega-Altair."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

import altair as alt

from tools.dashboard.answers import Rows, Value
from tools.dashboard.definition import Chart, Columns, Dashboard, Show

CELL: Final = 32
"""Pixels of a side of a cell of the grid."""
_BESIDE: Final = 120
"""Pixels beside a chart that its axis and legend take."""
_BELOW: Final = 60
"""Pixels above and below a chart that its title and axis take."""

# Of a line with several measures: which it is, and its value.
_MEASURE: Final = "measure"
_VALUE: Final = "value"

_POINT: Final = {"size": 10}
"""A dot an hour: one hour alone has neither a line nor an area."""

type Drawing = alt.Chart | alt.LayerChart | alt.FacetChart


@alt.theme.register("image-lake", enable=True)
def _style() -> alt.theme.ThemeConfig:
    return {
        "config": {
            "view": {"stroke": None},
            "title": {"anchor": "start", "fontSize": 14},
            "axis": {"labelLimit": 240, "titleFontWeight": "normal"},
            "legend": {"titleFontWeight": "normal"},
        }
    }


def draw(dashboard: Dashboard, queries: Mapping[str, Columns], answers: Mapping[str, Rows]) -> alt.VConcatChart:
    """All charts on one page, side by side as on QuickSight's sheets, of the answers to their queries."""
    sheets = []
    for sheet in dashboard.sheets:
        rows = []
        for row in sheet.rows:
            drawings = (draw_chart(chart, queries[chart.query], answers[chart.query]) for chart in row)
            rows.append(alt.hconcat(*drawings, spacing=40).resolve_scale(color="independent"))
        title = alt.Title(sheet.title, fontSize=20, offset=16)
        sheets.append(alt.vconcat(*rows, spacing=30, title=title).resolve_scale(color="independent"))
    title = alt.Title(dashboard.title, fontSize=26, offset=16)
    page: alt.VConcatChart = alt.vconcat(*sheets, spacing=50, title=title).resolve_scale(color="independent")
    return page


def draw_chart(chart: Chart, columns: Columns, rows: Rows) -> Drawing:
    """One chart of the answer to its query."""
    drawing = alt.Chart(
        alt.InlineData(_data(chart, rows)),
        title=alt.Title(chart.title, frame="group"),
        width=chart.width * CELL - _BESIDE,
        height=chart.height * CELL - _BELOW,
    )
    match chart.kind:
        case "kpi":
            return _plain(drawing.mark_text(fontSize=40, align="left", x=0), chart)
        case "table":
            return _table(drawing, chart)
        case "heatmap":
            return _heat_map(drawing, chart, columns)
        case "line":
            return _plotted(drawing.mark_line(point=_POINT), chart, columns)
        case "area":
            return _plotted(drawing.mark_area(point=_POINT, opacity=1), chart, columns)
        case "bar" | "column":
            return _plotted(drawing.mark_bar(), chart, columns)


# Data


def _data(chart: Chart, rows: Rows) -> list[dict[str, Any]]:
    """What is shown; a row for each cell of a table, and for each of several measures of a line."""
    rows = _largest(chart, rows)
    if chart.kind == "kpi" and not rows:
        return [{show.column: 0 for show in chart.y if show.aggregate == "sum"}]
    if chart.kind == "table":
        return [
            {"row": number, "column": show.title, "text": _written(row[show.column], show)}
            for number, row in enumerate(rows)
            for show in chart.columns
        ]
    if chart.x and len(chart.y) > 1:
        return [
            {chart.x.column: _json(row[chart.x.column]), _MEASURE: show.title, _VALUE: row[show.column]}
            for row in rows
            for show in chart.y
        ]
    return [{show.column: _json(row[show.column]) for show in chart.shown} for row in rows]


def _largest(chart: Chart, rows: Rows) -> Rows:
    if chart.largest_first:
        column = chart.largest_first
        known = [row for row in rows if row[column] is not None]
        return sorted(known, key=lambda row: cast("float", row[column]), reverse=True)[: chart.limit]
    if chart.x is None or chart.limit is None:
        return rows
    totals: Counter[Value] = Counter()
    for row in rows:
        totals[row[chart.x.column]] += cast("int", row[chart.y[0].column])
    kept = {value for value, _ in totals.most_common(chart.limit)}
    return [row for row in rows if row[chart.x.column] in kept]


def _json(value: Value) -> Value:
    return f"{value.isoformat()}Z" if isinstance(value, datetime) else value


def _written(value: Value, show: Show) -> str:
    match value:
        case None:
            return "-"
        case str():
            return value
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case _:
            return f"{value:,.{show.decimals}f}"


# Encodings


def _plain(drawing: alt.Chart, chart: Chart) -> alt.Chart:
    written: alt.Chart = drawing.encode(_text(chart.y[0]))
    return written


def _plotted(drawing: alt.Chart, chart: Chart, columns: Columns) -> alt.Chart:
    measure, split = _measure(chart.y[0]), list[alt.Color]()
    if len(chart.y) > 1:
        measure = {"field": _VALUE, "type": "quantitative"}
        split = [alt.Color(_MEASURE, type="nominal", title=None, sort=[show.title for show in chart.y])]
    elif chart.series:
        split = [alt.Color(chart.series.column, type="nominal", title=chart.series.title)]
    ticks = alt.Axis(tickMinStep=10 ** -max(show.decimals for show in chart.y))
    measure |= {"title": chart.y_title or chart.y[0].title, "scale": alt.Scale(type=chart.scale), "axis": ticks}
    divided = _divided(chart.x, columns) if chart.x else {}
    across, up = (alt.X(**divided), alt.Y(**measure))
    if chart.kind == "bar":
        across, up = alt.X(**measure), alt.Y(**divided, sort="-x")
    plotted: alt.Chart = drawing.encode(across, up, *split)
    return plotted


def _heat_map(drawing: alt.Chart, chart: Chart, columns: Columns) -> Drawing:
    across, up = (_divided(show, columns) if show else {} for show in (chart.x, chart.series))
    cells = drawing.encode(alt.X(**across), alt.Y(**up))
    light = alt.Scale(range=["#f2f7fc", "#7fb6e0"])  # so that the numbers can be read
    shades = cells.mark_rect().encode(alt.Color(**_measure(chart.y[0]), scale=light, legend=None))
    return alt.layer(shades, cells.mark_text().encode(_text(chart.y[0])))


def _table(drawing: alt.Chart, chart: Chart) -> alt.Chart:
    across = alt.X("column", type="nominal", sort=[show.title for show in chart.columns]).axis(
        orient="top", title=None, labelAngle=0, domain=False, ticks=False, labelFontWeight="bold"
    )
    written: alt.Chart = drawing.mark_text().encode(
        across, alt.Y("row", type="ordinal", axis=None), alt.Text("text", type="nominal")
    )
    written.height = alt.Step(24)
    return written


def _divided(show: Show, columns: Columns) -> dict[str, Any]:
    common = {"field": show.column, "title": show.title}
    match columns[show.column]:
        case "DATETIME":
            axis = alt.Axis(format="%a %d %b %H:%M", labelOverlap=True)
            return common | {"type": "temporal", "timeUnit": "utcyearmonthdatehours", "axis": axis}
        case "STRING":
            return common | {"type": "nominal", "axis": alt.Axis(labelAngle=0)}
        case "INTEGER" | "DECIMAL":
            return common | {"type": "ordinal", "axis": alt.Axis(labelAngle=0)}


def _measure(show: Show) -> dict[str, Any]:
    return {"field": show.column, "type": "quantitative", "aggregate": show.aggregate}


def _text(show: Show) -> alt.Text:
    return alt.Text(**_measure(show), format=f",.{show.decimals}f")
