"""The definition of the dashboard, and the stack that is written from it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.application import TEMPLATE
from tools import analytics_template
from tools.dashboard import answers, definition, quicksight
from tools.dashboard.definition import IDENTIFYING, Dashboard

QUERIES = answers.queries()
DASHBOARD = definition.read(QUERIES)
STACK = quicksight.template(DASHBOARD, QUERIES)
DATA_SETS = {
    one["Properties"]["Name"]: one["Properties"]
    for one in STACK["Resources"].values()
    if one["Type"] == "AWS::QuickSight::DataSet"
}
ANALYSIS = STACK["Resources"]["Analysis"]["Properties"]
SHEETS = ANALYSIS["Definition"]["Sheets"]


def custom_sql(name: str) -> dict[str, Any]:
    [table] = DATA_SETS[name]["PhysicalTableMap"].values()
    found: dict[str, Any] = table["CustomSql"]
    return found


def dashboard_of(**changes: Any) -> Dashboard:
    """A dashboard of one chart, of which some is changed."""
    x, y = {"column": "arrived_hour", "title": "Hour"}, [{"column": "images", "title": "Images"}]
    chart: dict[str, Any] = {
        "id": "one", "title": "One", "query": "arrivals", "kind": "line", "width": 9, "height": 3, "x": x, "y": y
    }  # fmt: skip
    sheets = [{"title": "Sheet", "charts": [chart | changes]}]
    return Dashboard.model_validate({"title": "Title", "sheets": sheets}, context={"queries": QUERIES})


# The definition


def test_every_named_query_has_a_chart() -> None:
    assert {chart.query for chart in DASHBOARD.charts} == set(QUERIES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": "arrival"}, "there is no query arrival; there are arrivals, cameras"),
        ({"y": [{"column": "image", "title": "Images"}]}, "arrivals has no column image; it has arrived_hour, source"),
        ({"y": [{"column": "source", "title": "Source"}]}, "source is STRING, not a number"),
        ({"kind": "kpi"}, "a kpi has no x"),
        ({"x": None}, "a line needs x"),
        ({"kind": "heatmap"}, "a heatmap needs series"),
        ({"kind": "table", "x": None, "y": []}, "a table needs columns"),
        ({"y": [{"column": name, "title": name} for name in ("images", "mb")]}, "under a y_title"),
        ({"title": None}, "title"),
        ({"colour": "red"}, "colour"),
        ({"width": 37}, "less than or equal to 36"),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        dashboard_of(**changes)


def test_a_table_is_sorted_by_what_it_shows() -> None:
    columns = [{"column": "images", "title": "Images"}]
    dashboard_of(kind="table", x=None, y=[], columns=columns, largest_first="images")

    with pytest.raises(ValidationError, match="sorted by mb, which it does not show"):
        dashboard_of(kind="table", x=None, y=[], columns=columns, largest_first="mb")


@pytest.mark.parametrize(("query", "column"), [("duplicates", "phash"), ("sharpness_outliers", "image_id")])
def test_a_chart_does_not_show_what_leads_to_an_image(query: str, column: str) -> None:
    numbers = [name for name, kind in QUERIES[query].items() if kind == "DECIMAL"]

    with pytest.raises(ValidationError, match=f"{column} leads to one image or person"):
        dashboard_of(
            query=query, x={"column": column, "title": column}, y=[{"column": numbers[0], "title": numbers[0]}]
        )


def test_personal_data_of_the_catalog_identifies() -> None:
    columns = TEMPLATE["Resources"]["CatalogTable"]["Properties"]["TableInput"]["StorageDescriptor"]["Columns"]
    personal = {column["Name"] for column in columns if "personal data" in column["Comment"]}

    assert personal
    assert personal <= IDENTIFYING <= {column["Name"] for column in columns}


def test_a_chart_has_an_id_of_its_own() -> None:
    one = dashboard_of().model_dump()
    one["sheets"][0]["charts"] *= 2

    with pytest.raises(ValidationError, match="there are several charts one"):
        Dashboard.model_validate(one, context={"queries": QUERIES})


# The stack


def test_the_template_is_written_from_the_definition() -> None:
    assert quicksight.TEMPLATE.read_text(encoding="utf-8") == analytics_template.dashboard_template()
    assert yaml.safe_load(quicksight.TEMPLATE.read_text(encoding="utf-8")) == STACK


def test_no_data_set_is_imported_and_nobody_may_change_that() -> None:
    assert set(DATA_SETS) == set(QUERIES)
    for data_set in DATA_SETS.values():
        [granted] = data_set["Permissions"]
        assert data_set["ImportMode"] == "DIRECT_QUERY"
        assert set(data_set["DataSetUsageConfiguration"].values()) == {True}
        assert not re.search("Update|Create|Delete|Put", " ".join(granted["Actions"]))
    assert "Permissions" not in STACK["Resources"]["DataSource"]["Properties"]


@pytest.mark.parametrize("query", QUERIES)
def test_a_data_set_asks_the_named_query_for_the_columns_it_declares(query: str) -> None:
    text = custom_sql(query)["SqlQuery"]["Fn::Sub"]
    declared = {column["Name"]: column["Type"] for column in custom_sql(query)["Columns"]}

    assert " current_images" not in text, "QuickSight asks in no database"
    with answers.catalog_of(()) as catalog:
        assert catalog.columns(text.replace("${CatalogDatabase}", "main")) == declared
    assert declared.items() <= QUERIES[query].items()
    assert not declared.keys() & IDENTIFYING


def nodes(node: Any, name: str) -> Iterator[Any]:
    """Whatever is called `name` somewhere in `node`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from nodes(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value, name)


FIELDS = {
    "CategoricalDimensionField": {"STRING"},
    "DateDimensionField": {"DATETIME"},
    "NumericalDimensionField": {"INTEGER", "DECIMAL"},
    "NumericalMeasureField": {"INTEGER", "DECIMAL"},
}
FORMATS = {
    "StringFormatConfiguration": {"STRING"},
    "DateTimeFormatConfiguration": {"DATETIME"},
    "NumberFormatConfiguration": {"INTEGER", "DECIMAL"},
}


def test_every_field_is_of_its_data_set_and_of_its_kind() -> None:
    fields = [(field, kinds) for name, kinds in FIELDS.items() for field in nodes(SHEETS, name)]
    for wells in nodes(SHEETS, "TableUnaggregatedFieldWells"):
        for field in wells["Values"]:
            [form] = field["FormatConfiguration"]
            fields.append((field, FORMATS[form]))

    assert len(fields) == sum(len(chart.shown) for chart in DASHBOARD.charts)
    for field, kinds in fields:
        declared = {one["Name"]: one["Type"] for one in custom_sql(field["Column"]["DataSetIdentifier"])["Columns"]}
        assert declared[field["Column"]["ColumnName"]] in kinds


def test_a_visual_sorts_by_a_field_of_its_own() -> None:
    visuals = list(nodes(SHEETS, "Visuals"))
    sorted_by = []
    for visual in (one for sheet in visuals for one in sheet):
        here = [sort["FieldId"] for sort in nodes(visual, "FieldSort")]
        assert set(here) <= set(nodes(list(nodes(visual, "FieldWells")), "FieldId"))
        sorted_by += here
    assert len(sorted_by) > len(DASHBOARD.charts) / 2


def test_every_chart_has_its_place_and_no_other_s() -> None:
    for sheet, drawn in zip(SHEETS, DASHBOARD.sheets, strict=True):
        [elements] = nodes(sheet, "Elements")
        assert [one["ElementId"] for one in elements] == list(nodes(sheet, "VisualId")) == [c.id for c in drawn.charts]
        cells = [
            (one["ColumnIndex"] + column, one["RowIndex"] + row)
            for one in elements
            for column in range(one["ColumnSpan"])
            for row in range(one["RowSpan"])
        ]
        assert len(cells) == len(set(cells))
        assert max(column for column, _ in cells) < definition.GRID_COLUMNS


def test_analysis_and_dashboard_show_the_same_to_the_same() -> None:
    shown = STACK["Resources"]["Dashboard"]["Properties"]

    assert shown["Definition"] == ANALYSIS["Definition"]
    principals = list(nodes(STACK["Resources"], "Principal"))
    assert len(principals) == len(DATA_SETS) + 2
    assert all(principal == {"Ref": "PrincipalArn"} for principal in principals)


def test_every_data_set_of_the_stack_is_declared_once() -> None:
    declared = ANALYSIS["Definition"]["DataSetIdentifierDeclarations"]

    assert {one["Identifier"]: STACK["Resources"][one["DataSetArn"]["Fn::GetAtt"][0]] for one in declared} == {
        name: {"Type": "AWS::QuickSight::DataSet", "Properties": data_set} for name, data_set in DATA_SETS.items()
    }
