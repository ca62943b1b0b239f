"""The dashboard as a nested stack: `analytics/dashboard/template.yaml`, which `make analytics` writes.

A data set is the text of a named query, asked of Athena each time (`DIRECT_QUERY`): nothing is imported into SPICE. It
has those columns only that a chart shows, and nobody is granted to change it or to build an importing one on it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from local.emulator import ROOT
from tools import sql
from tools.dashboard.definition import Aggregate, Chart, Columns, ColumnType, Dashboard, Sheet, Show

TEMPLATE: Final = ROOT / "analytics" / "dashboard" / "template.yaml"

# The sets that QuickSight's console grants to an owner or a user of each kind; it takes no others. Owners of a data
# set could import it, so there are none.
DATA_SET_USER: Final = (
    "DescribeDataSet", "DescribeDataSetPermissions", "PassDataSet", "DescribeIngestion", "ListIngestions",
)  # fmt: skip
ANALYSIS_OWNER: Final = (
    "DescribeAnalysis", "DescribeAnalysisPermissions", "QueryAnalysis", "UpdateAnalysis", "UpdateAnalysisPermissions",
    "DeleteAnalysis", "RestoreAnalysis",
)  # fmt: skip
DASHBOARD_OWNER: Final = (
    "DescribeDashboard", "DescribeDashboardPermissions", "ListDashboardVersions", "QueryDashboard", "UpdateDashboard",
    "UpdateDashboardPermissions", "UpdateDashboardPublishedVersion", "DeleteDashboard",
)  # fmt: skip

_AGGREGATES: Final[dict[Aggregate, str]] = {"sum": "SUM", "max": "MAX", "mean": "AVERAGE", "count": "COUNT"}
_NAME: Final = {"Ref": "AWS::StackName"}


def template(dashboard: Dashboard, queries: Mapping[str, Columns]) -> dict[str, Any]:
    """The stack of a dashboard and all that it shows."""
    shown: dict[str, list[str]] = {}
    for chart in dashboard.charts:
        names = shown.setdefault(chart.query, [])
        names += [one.column for one in chart.shown if one.column not in names]
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The dashboard of the analysts, in QuickSight.",
        "Parameters": {
            "CatalogDatabase": {"Type": "String"},
            "PrincipalArn": {"Type": "String", "Description": "QuickSight user or group"},
            "RoleArn": {"Type": "String", "Description": "What QuickSight queries as"},
            "WorkGroup": {"Type": "String"},
        },
        "Resources": {
            "DataSource": _data_source(),
            **{
                _data_set_id(query): _data_set(
                    query, [name for name in queries[query] if name in names], queries[query]
                )
                for query, names in shown.items()
            },
            "Analysis": {
                "Type": "AWS::QuickSight::Analysis",
                "Properties": {
                    "AwsAccountId": {"Ref": "AWS::AccountId"},
                    "AnalysisId": _NAME,
                    "Name": dashboard.title,
                    "Permissions": _granted(ANALYSIS_OWNER),
                    "Definition": _definition(dashboard, queries, list(shown)),
                },
            },
            "Dashboard": {
                "Type": "AWS::QuickSight::Dashboard",
                "Properties": {
                    "AwsAccountId": {"Ref": "AWS::AccountId"},
                    "DashboardId": _NAME,
                    "Name": dashboard.title,
                    "Permissions": _granted(DASHBOARD_OWNER),
                    "Definition": _definition(dashboard, queries, list(shown)),
                },
            },
        },
        "Outputs": {
            "DashboardUrl": {
                "Value": {"Fn::Sub": "https://${AWS::Region}.quicksight.aws.amazon.com/sn/dashboards/${AWS::StackName}"}
            }
        },
    }


def _granted(actions: Sequence[str]) -> list[dict[str, Any]]:
    return [{"Principal": {"Ref": "PrincipalArn"}, "Actions": [f"quicksight:{action}" for action in actions]}]


# Data


def _data_source() -> dict[str, Any]:
    return {
        "Type": "AWS::QuickSight::DataSource",
        "Properties": {
            "AwsAccountId": {"Ref": "AWS::AccountId"},
            "DataSourceId": _NAME,
            "Name": _NAME,
            "Type": "ATHENA",
            "DataSourceParameters": {
                "AthenaParameters": {"WorkGroup": {"Ref": "WorkGroup"}, "RoleArn": {"Ref": "RoleArn"}}
            },
        },
    }


def _data_set_id(query: str) -> str:
    return f"{query.title().replace('_', '')}DataSet"


def _data_set(query: str, shown: Sequence[str], columns: Columns) -> dict[str, Any]:
    custom_sql = {
        "Name": query,
        "DataSourceArn": {"Fn::GetAtt": ["DataSource", "Arn"]},
        "SqlQuery": {"Fn::Sub": _projected(query, shown)},
        "Columns": [{"Name": name, "Type": columns[name]} for name in shown],
    }
    return {
        "Type": "AWS::QuickSight::DataSet",
        "Properties": {
            "AwsAccountId": {"Ref": "AWS::AccountId"},
            "DataSetId": {"Fn::Sub": f"${{AWS::StackName}}-{query}"},
            "Name": query,
            "ImportMode": "DIRECT_QUERY",
            "DataSetUsageConfiguration": {
                "DisableUseAsDirectQuerySource": True,
                "DisableUseAsImportedSource": True,
            },
            "PhysicalTableMap": {query.replace("_", "-"): {"CustomSql": custom_sql}},
            "Permissions": _granted(DATA_SET_USER),
        },
    }


def _projected(query: str, shown: Sequence[str]) -> str:
    """The query's text with those columns; QuickSight asks in no database, so the tables say theirs."""
    text = sql.named(query)[1]
    scopes = traverse_scope(sqlglot.parse_one(text, read="athena"))
    tables = [source for scope in scopes for source in scope.sources.values() if isinstance(source, exp.Table)]
    for place in sorted({table.this.meta["start"] for table in tables}, reverse=True):
        text = f"{text[:place]}${{CatalogDatabase}}.{text[place:]}"
    return f"SELECT {', '.join(shown)}\nFROM (\n{text}) AS {query}\n"


# What is shown


def _definition(dashboard: Dashboard, queries: Mapping[str, Columns], used: Sequence[str]) -> dict[str, Any]:
    return {
        "DataSetIdentifierDeclarations": [
            {"Identifier": query, "DataSetArn": {"Fn::GetAtt": [_data_set_id(query), "Arn"]}} for query in used
        ],
        "Sheets": [_sheet(number, sheet, queries) for number, sheet in enumerate(dashboard.sheets)],
    }


def _sheet(number: int, sheet: Sheet, queries: Mapping[str, Columns]) -> dict[str, Any]:
    return {
        "SheetId": f"sheet-{number}",
        "Name": sheet.title,
        "ContentType": "INTERACTIVE",
        "Visuals": [_visual(chart, queries[chart.query]) for chart in sheet.charts],
        "Layouts": [{"Configuration": {"GridLayout": {"Elements": list(_elements(sheet))}}}],
    }


def _elements(sheet: Sheet) -> Iterator[dict[str, Any]]:
    top = 0
    for row in sheet.rows:
        left = 0
        for chart in row:
            yield {
                "ElementId": chart.id,
                "ElementType": "VISUAL",
                "ColumnIndex": left,
                "ColumnSpan": chart.width,
                "RowIndex": top,
                "RowSpan": chart.height,
            }
            left += chart.width
        top += max(chart.height for chart in row)


def _visual(chart: Chart, columns: Columns) -> dict[str, Any]:
    match chart.kind:
        case "kpi":
            kind, configuration = "KPIVisual", {"FieldWells": {"Values": _y(chart)}}
        case "line" | "area":
            kind, configuration = "LineChartVisual", _line(chart, columns)
        case "bar" | "column":
            kind, configuration = "BarChartVisual", _bars(chart, columns)
        case "heatmap":
            kind, configuration = "HeatMapVisual", _heat_map(chart, columns)
        case "table":
            kind, configuration = "TableVisual", _table(chart, columns)
    title = {"Visibility": "VISIBLE", "FormatText": {"PlainText": chart.title}}
    return {kind: {"VisualId": chart.id, "Title": title, "ChartConfiguration": configuration}}


def _line(chart: Chart, columns: Columns) -> dict[str, Any]:
    wells = {"Category": _x(chart, columns), "Values": _y(chart), "Colors": _series(chart, columns)}
    scale = {"Logarithmic": {"Base": 10}} if chart.scale == "log" else {"Linear": {}}
    return {
        "Type": "STACKED_AREA" if chart.kind == "area" else "LINE",
        "FieldWells": {"LineChartAggregatedFieldWells": wells},
        "SortConfiguration": {"CategorySort": [_sort("x", chart, "ASC")]},
        "XAxisLabelOptions": _label(chart.x),
        "PrimaryYAxisDisplayOptions": {"AxisOptions": {"DataOptions": {"NumericAxisOptions": {"Scale": scale}}}},
        "PrimaryYAxisLabelOptions": {"AxisLabelOptions": [{"CustomLabel": chart.y_title or chart.y[0].title}]},
    }


def _bars(chart: Chart, columns: Columns) -> dict[str, Any]:
    wells = {"Category": _x(chart, columns), "Values": _y(chart), "Colors": _series(chart, columns)}
    limit = {"CategoryItemsLimit": {"ItemsLimit": chart.limit, "OtherCategories": "EXCLUDE"}} if chart.limit else {}
    lies = chart.kind == "bar"
    return {
        "Orientation": "HORIZONTAL" if lies else "VERTICAL",
        "BarsArrangement": "STACKED",
        "FieldWells": {"BarChartAggregatedFieldWells": wells},
        "SortConfiguration": {
            "CategorySort": [_sort("y", chart, "DESC") if lies else _sort("x", chart, "ASC")],
            **limit,
        },
        "CategoryLabelOptions": _label(chart.x),
        "ValueLabelOptions": _label(chart.y[0]),
    }


def _heat_map(chart: Chart, columns: Columns) -> dict[str, Any]:
    wells = {"Columns": _x(chart, columns), "Rows": _series(chart, columns), "Values": _y(chart)}
    return {
        "FieldWells": {"HeatMapAggregatedFieldWells": wells},
        "ColumnLabelOptions": _label(chart.x),
        "RowLabelOptions": _label(chart.series),
    }


def _table(chart: Chart, columns: Columns) -> dict[str, Any]:
    fields = [
        _field("columns", chart, show) | {"FormatConfiguration": _format(show, columns[show.column])}
        for show in chart.columns
    ]
    options = [
        {"FieldId": field["FieldId"], "CustomLabel": show.title}
        for field, show in zip(fields, chart.columns, strict=True)
    ]
    sort = {"FieldId": f"{chart.id}.columns.{chart.largest_first}", "Direction": "DESC"}
    return {
        "FieldWells": {"TableUnaggregatedFieldWells": {"Values": fields}},
        "SortConfiguration": {"RowSort": [{"FieldSort": sort}]},
        "FieldOptions": {"SelectedFieldOptions": options, "Order": [field["FieldId"] for field in fields]},
    }


# Fields


def _x(chart: Chart, columns: Columns) -> list[dict[str, Any]]:
    return [_dimension("x", chart, chart.x, columns)] if chart.x else []


def _series(chart: Chart, columns: Columns) -> list[dict[str, Any]]:
    return [_dimension("series", chart, chart.series, columns)] if chart.series else []


def _y(chart: Chart) -> list[dict[str, Any]]:
    return [
        {
            "NumericalMeasureField": _field("y", chart, show)
            | {
                "AggregationFunction": {"SimpleNumericalAggregation": _AGGREGATES[show.aggregate]},
                "FormatConfiguration": {"FormatConfiguration": _number(show)},
            }
        }
        for show in chart.y
    ]


def _dimension(role: str, chart: Chart, show: Show, columns: Columns) -> dict[str, Any]:
    field = _field(role, chart, show)
    match columns[show.column]:
        case "STRING":
            return {"CategoricalDimensionField": field}
        case "DATETIME":
            return {"DateDimensionField": field | {"DateGranularity": "HOUR"}}
        case "INTEGER" | "DECIMAL":
            return {"NumericalDimensionField": field}


def _field(role: str, chart: Chart, show: Show) -> dict[str, Any]:
    column = {"DataSetIdentifier": chart.query, "ColumnName": show.column}
    return {"FieldId": _field_id(role, chart, show), "Column": column}


def _field_id(role: str, chart: Chart, show: Show) -> str:
    return f"{chart.id}.{role}.{show.column}"


def _sort(role: Literal["x", "y"], chart: Chart, direction: Literal["ASC", "DESC"]) -> dict[str, Any]:
    by = chart.y[0] if role == "y" else chart.x
    return {"FieldSort": {"FieldId": _field_id(role, chart, by), "Direction": direction}} if by else {}


def _label(show: Show | None) -> dict[str, Any]:
    return {"AxisLabelOptions": [{"CustomLabel": show.title}]} if show else {}


def _format(show: Show, kind: ColumnType) -> dict[str, Any]:
    match kind:
        case "STRING":
            return {"StringFormatConfiguration": {}}
        case "DATETIME":
            return {"DateTimeFormatConfiguration": {"DateTimeFormat": "YYYY-MM-DD HH:mm"}}
        case "INTEGER" | "DECIMAL":
            return {"NumberFormatConfiguration": {"FormatConfiguration": _number(show)}}


def _number(show: Show) -> dict[str, Any]:
    return {
        "NumberDisplayFormatConfiguration": {
            "DecimalPlacesConfiguration": {"DecimalPlaces": show.decimals},
            "SeparatorConfiguration": {"ThousandsSeparator": {"Symbol": "COMMA", "Visibility": "VISIBLE"}},
            "NumberScale": "NONE",
        }
    }
