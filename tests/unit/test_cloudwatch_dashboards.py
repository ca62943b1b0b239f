"""The dashboards of operators: what CloudWatch takes, with metrics of the registry only, and all of ours."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import corridor_cost
from imagelake import metrics
from imagelake.metrics import AwsMetric, Metric
from tests.application import FUNCTION_FOLDERS, ROOT, TEMPLATE, logical_id, read
from tools.cloudwatch import __main__ as command
from tools.cloudwatch import body, prices, structure, templates
from tools.cloudwatch.panels import Dashboard, Each, Line, Math, Panel, Text

EVERY: tuple[Metric | AwsMetric, ...] = (*metrics.OWN, *metrics.AWS)
BODIES = {one.name: json.loads(body.written(one)) for one in command.DASHBOARDS}
CHECKED = {one.name: structure.check(body.written(one)) for one in command.DASHBOARDS}
UNSHOWN = {
    "ScriptFailures",
    "ScriptFailuresOfAllVersions",
}  # for the alarm of a release; rejections are shown by reason
"""Metrics of ours that are on no dashboard, each with a comment that says why."""
WITHOUT_PANEL = {"ConfigureRedshiftFunction", "RehearseReleaseFunction"}
"""Run when the stack is deployed, which fails if they do."""
SOMEWHERE = {"x": 0, "y": 0, "width": 6, "height": 6}
TEXT = {"type": "text", **SOMEWHERE, "properties": {"markdown": "text"}}


def _metric_widgets(name: str) -> list[dict[str, Any]]:
    return [one["properties"] for one in BODIES[name]["widgets"] if one["type"] == "metric"]


def _entries() -> list[tuple[str, tuple[str, ...]]]:
    return [(name, metric) for name, checked in CHECKED.items() for metric in checked.metrics]


# Metrics


def test_every_metric_is_of_the_registry_by_name_and_dimensions() -> None:
    registered = {(one.namespace, one.name, one.dimensions) for one in EVERY}

    for name, (namespace, metric, *pairs) in _entries():
        assert (namespace, metric, tuple(pairs[::2])) in registered, name
        assert "${LakeName}" in pairs[1::2] or namespace != metrics.NAMESPACE


def test_every_metric_of_ours_is_shown_with_each_value_of_its_dimension() -> None:
    shown = {metric for _, metric in _entries() if metric[0] == metrics.NAMESPACE}
    searched = {
        found
        for name in BODIES
        for one in _metric_widgets(name)
        for entry in one["metrics"]
        for found in re.findall(r'MetricName="(\w+)"', entry[-1].get("expression", ""))
    }

    for one in metrics.OWN:
        if one.name in UNSHOWN | searched:
            continue
        values = {metric[-1] for metric in shown if metric[1] == one.name and one.by in metric}
        assert one.name in {metric[1] for metric in shown}, (
            f"{one.name} is on no dashboard: add it to tools/cloudwatch/"
        )
        assert values == set(one.values), one.name


def test_a_value_of_a_dimension_is_of_its_closed_list() -> None:
    own = {one.name: one for one in metrics.OWN}

    for name, (namespace, metric, *pairs) in _entries():
        given = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if namespace == metrics.NAMESPACE and (by := own[metric].by):
            assert given[by] in own[metric].values, name


def test_a_statistic_suits_the_unit_of_its_metric() -> None:
    units = {(one.namespace, one.name): one.unit for one in EVERY}
    for name in BODIES:
        for one in _metric_widgets(name):
            for *names, options in one["metrics"]:
                if names and options["stat"] == "Sum":
                    needed = {"Count", "Bytes"} | (
                        {"Milliseconds"} if "dollars" in json.dumps(one.get("yAxis")) else set()
                    )
                    assert units[names[0], names[1]] in needed, "a sum of ages or of shares says nothing"


def test_every_function_has_its_errors_and_its_time_on_a_dashboard() -> None:
    expected = {logical_id(folder) for folder in FUNCTION_FOLDERS} - WITHOUT_PANEL
    for metric in ("Errors", "Duration"):
        shown = {found[3][2:-1] for _, found in _entries() if found[1] == metric}
        assert shown == expected, f"{metric}: add the function to FUNCTIONS of tools/cloudwatch/flow.py or promise.py"


# What one reads


def test_a_graph_has_a_question_as_title_a_unit_and_a_name_for_each_line_that_is_drawn() -> None:
    for name in BODIES:
        for one in _metric_widgets(name):
            assert one["title"].endswith("?"), one["title"]
            assert one["view"] == "singleValue" or one["yAxis"]["left"]["label"], one["title"]
            drawn = [entry[-1] for entry in one["metrics"] if entry[-1].get("visible", True)]
            assert all(entry.get("label") for entry in drawn), one["title"]
            labels = [entry["label"] for entry in drawn]
            assert len(set(labels)) == len(labels), one["title"]


def test_titles_are_unique_and_alarms_are_on_top() -> None:
    for name, found in BODIES.items():
        titles = [one["title"] for one in _metric_widgets(name)]
        assert len(set(titles)) == len(titles)
        assert (found["widgets"][0]["type"], found["widgets"][0]["y"]) == ("alarm", 0)


def test_every_alarm_is_on_one_of_the_dashboards() -> None:
    passed = read(ROOT / "template.yaml")["Resources"]["Dashboards"]["Properties"]["Parameters"]
    alarms = {name for name, one in TEMPLATE["Resources"].items() if one["Type"].startswith("AWS::CloudWatch::")}
    shown = []
    for parameter in ("FlowAlarms", "PromiseAlarms"):
        stack, output = passed[parameter]["Fn::GetAtt"]
        source = read(ROOT / read(ROOT / "template.yaml")["Resources"][stack]["Properties"]["TemplateURL"])
        shown += re.findall(r'"(\w+Alarm)(?:\.Arn)?"', json.dumps(source["Outputs"][output.removeprefix("Outputs.")]))

    of_a_release = read(ROOT / "stacks/release.yaml")["Resources"].keys()  # CloudFormation looks, for some minutes
    assert sorted(shown) == sorted(alarms - of_a_release)


def test_limits_and_thresholds_are_those_of_the_stacks() -> None:
    resources = TEMPLATE["Resources"]
    for name in BODIES:
        for one in _metric_widgets(name):
            for *_, options in one["metrics"]:
                if found := re.fullmatch(r"(\w+), of (\d+) s", options.get("label", "")):
                    function = resources[logical_id(found[1])]["Properties"]
                    limit = function.get("Timeout", TEMPLATE["Globals"]["Function"]["Timeout"])
                    assert int(found[2]) == limit, found[1]
                    assert options["expression"].endswith(f" / {10 * limit}"), "milliseconds to per cent of seconds"
    assert templates.threshold("CatalogBehindAlarm", thousand=True).value == 900
    assert templates.memory_gb("ProcessImageFunction") == "(${ProcessMemoryMb} / 1024)"


def test_prices_are_those_of_the_benchmark() -> None:
    """`benchmarks.corridor_cost` has them with their sources; the rows of docs/performance.md are its output."""
    millions = corridor_cost.PRICES
    lines = (ROOT / "docs/performance.md").read_text(encoding="utf-8").splitlines()
    table = lines[lines.index("| dollars for a million images | before | now |") :]
    cost = {row.split("|")[1].strip(): float(row.split("|")[3]) for row in table[2:9]}
    parts = ("requests to S3", "reads of the table", "calls of functions", "the item")

    assert prices.FUNCTION_GB_SECOND == corridor_cost.LAMBDA_SECOND
    assert pytest.approx(sum(cost[part] for part in parts)) == prices.IMAGE_REQUESTS * 1e6
    assert pytest.approx(cost["workflow"]) == prices.WORKFLOW_RUN * 1e6
    assert millions["workflow"] < prices.WORKFLOW_RUN * 1e6


def test_the_runbook_says_of_each_graph_what_is_a_bad_sign() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for name in BODIES:
        table = page.partition(f"| {name.title()} asks |")[2].partition("\n\n")[0]
        titles = [one["properties"]["title"] for one in BODIES[name]["widgets"] if one["type"] != "text"]
        assert [title for title in titles if title not in table] == [], name


# Files


def test_the_stack_has_the_dashboards_as_their_files_have_them() -> None:
    stack = read(ROOT / "dashboards/template.yaml")
    for name in BODIES:
        text = (ROOT / f"dashboards/{name}.json").read_text(encoding="utf-8")
        assert text == body.written(next(one for one in command.DASHBOARDS if one.name == name))
        properties = stack["Resources"][f"{name.title()}Dashboard"]["Properties"]
        assert properties["DashboardBody"]["Fn::Sub"] == text
        assert "${AWS::Region}" in properties["DashboardName"]["Fn::Sub"], "dashboards have no region of their own"
    assert len(stack["Resources"]) <= 3, "more would cost $3 a month each"


def test_a_file_that_is_stale_or_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "FOLDER", tmp_path / "dashboards")
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    (tmp_path / "dashboards/flow.json").write_text("{}")
    (tmp_path / "dashboards/promise.json").unlink()

    assert command.main(["--check"]) == 1

    said = capsys.readouterr().out
    assert "dashboards/flow.json" in said
    assert "dashboards/promise.json" in said
    assert "template.yaml" not in said


# The check of the structure


def _with(**changes: Any) -> str:
    """A body with one graph, of which some properties are others."""
    properties = {"title": "Title?", "region": "r", "view": "timeSeries", "period": 60, "metrics": [["N", "M"]]}
    graph = {"type": "metric", **SOMEWHERE, "properties": properties | changes}
    return json.dumps({"start": "-PT3H", "periodOverride": "inherit", "widgets": [graph]})


def _placed(*widgets: dict[str, Any]) -> str:
    return json.dumps({"start": "-PT3H", "periodOverride": "inherit", "widgets": widgets})


def test_what_cloudwatch_takes_is_taken() -> None:
    entries = [
        ["N", "M", "a", "1", {"id": "m1", "stat": "p99.9", "visible": False}],
        ["N", "M"],
        [{"expression": "100 * m1 / SERVICE_QUOTA(m1) + ${Parameter}", "label": "l", "id": "e1"}],
        [{"expression": "SEARCH('{N,a} MetricName=\"x\"', 'Sum', 60)", "label": "l"}],
    ]
    assert structure.check(_with(metrics=entries)).metrics == {("N", "M"), ("N", "M", "a", "1")}
    assert structure.check(_placed(TEXT, {**TEXT, "x": 6}, {**TEXT, "y": 6})).metrics == set()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": [["N"]]}, "namespace, name"),
        ({"metrics": [["N", "M", "a"]]}, "pairs of dimensions"),
        ({"metrics": [["N", "M", "a", ""]]}, "none is empty"),
        ({"metrics": [["N", "M", {"id": "Upper"}]]}, "should match pattern"),
        ({"metrics": [["N", "M", {"id": "m1"}], ["N", "O", {"id": "m1"}]]}, "ids are unique"),
        ({"metrics": [["N", "M", {"stat": "Mean"}]]}, "should match pattern"),
        ({"metrics": [["N", "M", {"colour": "#000000"}]]}, "colour"),
        ({"metrics": [[{"expression": "m2 / 1000"}]]}, "there is no m2"),
        ({"metrics": [["N", "M", {"expression": "1"}]]}, "a metric or an expression"),
        ({"metrics": [[{"label": "nothing"}]]}, "a metric or an expression"),
        ({"metrics": []}, "at least 1 item"),
        ({"metrics": [["N", f"M{number}"] for number in range(501)]}, "at most 500 items"),
        ({"metrics": [["N", f"M{number}"] for number in range(51)]}, "51 different metrics, 50 at most"),
        ({"period": 90}, "multiple of 60"),
        ({"view": "timeseries"}, "timeSeries"),
        ({"title": None}, "title"),
        ({"annotations": {"horizontal": [{"label": "no value"}]}}, "value"),
        ({"annotations": {"horizontal": [{"value": "12"}]}}, "valid number"),
        ({"yAxis": {"middle": {}}}, "middle"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=lambda one: json.dumps(one)[:60],
)
def test_what_cloudwatch_would_refuse_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        structure.check(_with(**changes))


@pytest.mark.parametrize(
    ("widgets", "said"),
    [
        ((TEXT, TEXT), "overlap"),
        ((TEXT, {**TEXT, "x": 5}), "overlap"),
        (({**TEXT, "x": 20},), "beyond the grid"),
        (({**TEXT, "x": 24},), "less than 24"),
        (({**TEXT, "height": 0},), "greater than or equal to 1"),
        (({**TEXT, "type": "texts"},), "texts"),
        (({"type": "alarm", **SOMEWHERE, "properties": {"alarms": []}},), "at least 1 item"),
    ],
)
def test_widgets_overlap_nowhere_and_stay_on_the_grid(widgets: tuple[dict[str, Any], ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        structure.check(_placed(*widgets))


def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        structure.check(_with(title="x" * structure.MOST_BYTES))


# Rendering


def test_panels_stand_beside_each_other_and_rows_below() -> None:
    panel = Panel("A?", (Line(metrics.IMAGES_ERASED, "erased"),), width=10, height=4)
    found = body.body(Dashboard("d", "-PT1H", ((panel, Text("t", width=14, height=6)), (panel,))))

    assert [(one["x"], one["y"]) for one in found["widgets"]] == [(0, 0), (10, 0), (0, 6)]


def test_each_value_of_a_dimension_is_searched_and_named_by_itself() -> None:
    metric = metrics.Metric("M", "Count", "A thing.", ("f",), by="colour", values=("red", "blue"))
    [widget] = body.body(Dashboard("d", "-PT1H", ((Panel("A?", (Each(metric),), "things"),),)))["widgets"]
    [[entry]] = widget["properties"]["metrics"]

    assert entry["expression"] == (
        "SEARCH('{ImageLake,service,colour} MetricName=\"M\" service=\"${LakeName}\"', 'Sum', 60)"
    )
    assert entry["label"] == "${!PROP('Dim.colour')}", "as Fn::Sub leaves it alone"


def test_a_line_needs_a_value_for_each_of_its_dimensions() -> None:
    with pytest.raises(KeyError, match="QueueName"):
        body.body(Dashboard("d", "-PT1H", ((Panel("A?", (Line(metrics.MESSAGES_VISIBLE, "m"),)),),)))


def test_what_is_hidden_is_for_math_only() -> None:
    lines = (Line(metrics.IMAGES_ERASED, "", id="m", is_shown=False), Math("m / 2", "half"))
    [widget] = body.body(Dashboard("d", "-PT1H", ((Panel("A?", lines),),)))["widgets"]

    assert widget["properties"]["metrics"] == [
        ["ImageLake", "ImagesErased", "service", "${LakeName}", {"stat": "Sum", "id": "m", "visible": False}],
        [{"expression": "m / 2", "label": "half"}],
    ]


def test_the_generated_stack_is_yaml_that_anybody_reads() -> None:
    text = (ROOT / "dashboards/template.yaml").read_text(encoding="utf-8").replace("!Sub", "")
    assert set(yaml.safe_load(text)) == {
        "AWSTemplateFormatVersion",
        "Description",
        "Parameters",
        "Resources",
        "Outputs",
    }
