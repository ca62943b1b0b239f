"""Dashboards of CloudWatch: how their bodies are read, and how what CloudWatch answers is drawn."""

import json
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake_cli import connection
from imagelake_cli.main import app
from imagelake_cli.watch import picture, widgets
from imagelake_cli.watch.monitor import Alarm, DashboardError, Monitor, Series
from imagelake_cli.watch.picture import Shown
from tools.cloudwatch import __main__ as dashboards
from tools.cloudwatch import body

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
GRAPH: dict[str, Any] = {
    "title": "How many?",
    "region": "us-east-1",
    "view": "timeSeries",
    "period": 60,
    "yAxis": {"left": {"label": "images"}},
    "metrics": [
        ["N", "Received", "a", "1", {"stat": "Sum", "label": "received", "color": "#1f77b4"}],
        ["N", "Time", {"stat": "p95", "id": "time", "visible": False}],
        [{"expression": "time / 1000", "label": "seconds", "id": "seconds"}],
    ],
    "annotations": {"horizontal": [{"value": 20, "label": "too many"}]},
}


def widget(kind: str, x: int, y: int, width: int = 12, height: int = 6, **properties: Any) -> dict[str, Any]:
    return {"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}


ALARMS = [f"arn:aws:cloudwatch:us-east-1:1:alarm:lake-Alarms-X1-{name}-Y2" for name in ("CalmAlarm", "LoudAlarm")]
BODY = {
    "start": "-PT3H",
    "periodOverride": "inherit",
    "widgets": [
        widget("alarm", 0, 0, 24, 2, title="Does an alarm ring?", alarms=ALARMS),
        widget("metric", 0, 2, **GRAPH | {"view": "singleValue", "title": "How many at all?"}),
        widget("metric", 12, 2, **GRAPH),
        widget("metric", 0, 8, **GRAPH | {"stacked": True, "title": "Of what?"}),
        widget("text", 12, 8, markdown="### Prices\nOf `us-east-1`."),
    ],
}


class CloudWatch:
    """Answers as CloudWatch does: in pages, and with several results for a search."""

    def __init__(self, body: Mapping[str, Any], *, empty: bool = False, refusal: str | None = None) -> None:
        self.body, self.empty, self.refusal = body, empty, refusal
        self.asked: list[Mapping[str, Any]] = []

    def get_dashboard(self, DashboardName: str) -> dict[str, str]:  # noqa: N803  # AWS's name
        return {"DashboardBody": json.dumps(self.body), "DashboardName": DashboardName}

    def get_paginator(self, _operation: str) -> "CloudWatch":
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        for page in range(2):
            yield {
                "MetricDataResults": [
                    self._result(query, page, request["StartTime"])
                    for query in request["MetricDataQueries"]
                    if query["ReturnData"]
                ]
            }

    def _result(self, query: Mapping[str, Any], page: int, start: datetime) -> dict[str, Any]:
        times = [] if self.empty else [start + timedelta(minutes=10 + page), start + timedelta(minutes=12 + page)]
        result = {"Id": query["Id"], "Label": query["Label"], "Timestamps": times, "StatusCode": "Complete"}
        if self.refusal:
            result |= {"StatusCode": "InternalError", "Messages": [{"Code": "Error", "Value": self.refusal}]}
        return result | {"Values": [float(10 * page + place) for place in range(len(times))]}

    def describe_alarms(self, AlarmNames: Sequence[str], AlarmTypes: Sequence[str]) -> dict[str, Any]:  # noqa: N803
        assert set(AlarmTypes) == {"MetricAlarm", "CompositeAlarm"}
        states = {"CalmAlarm": "OK", "LoudAlarm": "ALARM"}
        return {
            "MetricAlarms": [{"AlarmName": name, "StateValue": states[name.split("-")[3]]} for name in AlarmNames],
            "CompositeAlarms": [],
        }


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> CloudWatch:
    client = CloudWatch(BODY)
    monkeypatch.setattr(connection, "dashboard", lambda which, *_: (Monitor(client), f"lake-{which}"))  # type: ignore[arg-type]
    return client


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dashboard", *arguments])


# Bodies


def test_a_graph_asks_for_all_its_entries_and_draws_those_that_are_visible() -> None:
    found = widgets.read(json.dumps(BODY)).widgets[2]

    metric = {"Namespace": "N", "MetricName": "Received", "Dimensions": [{"Name": "a", "Value": "1"}]}
    first, second, third = found.queries
    assert first["MetricStat"] == {"Metric": metric, "Period": 60, "Stat": "Sum"}
    assert (second["Id"], second["ReturnData"]) == ("time", False)
    assert third == {"Id": "seconds", "ReturnData": True, "Label": "seconds", "Expression": "time / 1000", "Period": 60}
    assert [line.label for line in found.lines] == ["received", "seconds"]
    assert [(mark.value, mark.label) for mark in found.marks] == [(20, "too many")]


def test_what_somebody_wrote_with_dots_in_the_console_is_spelled_out() -> None:
    entries = [["N", "M", "a", "1", "b", "2"], [".", "O", ".", ".", ".", "3"], ["...", "4", {"stat": "Maximum"}]]
    graph = GRAPH | {"metrics": entries, "stat": "Sum"}
    [found] = widgets.read(json.dumps(BODY | {"widgets": [widget("metric", 0, 0, **graph)]})).widgets

    stats = [query["MetricStat"] for query in found.queries]
    metrics = [one["Metric"] for one in stats]
    values = [[pair["Value"] for pair in one["Dimensions"]] for one in metrics]
    assert [one["MetricName"] for one in metrics] == ["M", "O", "O"]
    assert values == [["1", "2"], ["1", "3"], ["1", "4"]]
    assert [one["Stat"] for one in stats] == ["Sum", "Sum", "Maximum"]


@pytest.mark.parametrize(("start", "hours"), [("-PT3H", 3), ("-PT90M", 1.5), ("-P8D", 192), ("-P2W", 336)])
def test_the_time_that_is_shown_is_that_of_the_dashboard(start: str, hours: float) -> None:
    assert widgets.read(json.dumps(BODY | {"start": start})).since == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": "2026-11-28T12:00:00Z"}, "start is"),
        ({"start": "-P3M"}, "start is"),
        ({"start": "-P3H"}, "start is"),
        ({"widgets": [widget("log", 0, 0)]}, "a widget of type log"),
        ({"widgets": [{"type": "text"}]}, "not the body of a dashboard"),
    ],
)
def test_what_only_cloudwatch_draws_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        widgets.read(json.dumps(BODY | changed))


@pytest.mark.parametrize("one", dashboards.DASHBOARDS, ids=lambda one: one.name)
def test_the_dashboards_of_the_stack_can_be_read(one: Any) -> None:
    found = widgets.read(body.written(one))

    assert len(found.widgets) == sum(len(row) for row in one.rows)
    assert [each.title for each in found.widgets if each.kind == "metric"] == [panel.title for panel in one.panels]
    assert found.since <= timedelta(seconds=found.finest * 1440), "its own time can be drawn"


# Numbers


def test_pages_are_put_together_and_a_label_is_the_one_of_the_dashboard() -> None:
    client = CloudWatch(BODY)
    found = Monitor(client).series(widgets.read(json.dumps(BODY)).widgets[2], NOON, NOON)  # type: ignore[arg-type]

    assert [(one.label, one.colour, [value for _, value in one.points]) for one in found] == [
        ("received", "#1f77b4", [0, 10, 1, 11]),
        ("seconds", "#1f77b4", [0, 10, 1, 11]),
    ]
    assert [time for time, _ in found[0].points] == sorted(time for time, _ in found[0].points)


def test_a_search_has_a_line_for_each_of_its_results() -> None:
    class Searched(CloudWatch):
        def paginate(self, **_request: Any) -> Iterator[dict[str, Any]]:
            results = [
                {"Id": "q0", "Label": label, "Timestamps": [NOON], "Values": [1.0], "StatusCode": "Complete"}
                for label in ("corrupt", "truncated")
            ]
            yield {"MetricDataResults": results}

    graph = GRAPH | {
        "metrics": [[{"expression": "SEARCH('{N,reason} M', 'Sum', 60)", "label": "${PROP('Dim.reason')}"}]]
    }
    [asked] = widgets.read(json.dumps(BODY | {"widgets": [widget("metric", 0, 0, **graph)]})).widgets
    found = Monitor(Searched(BODY)).series(asked, NOON, NOON)  # type: ignore[arg-type]

    assert [one.label for one in found] == ["corrupt", "truncated"]
    assert len({one.colour for one in found}) == 2


@pytest.mark.parametrize(
    ("stat", "total"), [("Sum", 5), ("SampleCount", 5), ("Maximum", 3), ("Minimum", 2), ("p95", 2)]
)
def test_one_number_is_of_all_the_time(stat: str, total: float) -> None:
    assert Series("l", "#000000", stat, ((NOON, 3), (NOON, 2))).total == total
    assert Series("l", "#000000", stat, ()).total is None


def test_what_cloudwatch_cannot_compute_is_said() -> None:
    client = CloudWatch(BODY, refusal="no such function")
    with pytest.raises(DashboardError, match="received: no such function"):
        Monitor(client).series(widgets.read(json.dumps(BODY)).widgets[2], NOON, NOON)  # type: ignore[arg-type]


def test_alarms_that_ring_come_first_and_have_the_name_that_the_template_has() -> None:
    found = Monitor(CloudWatch(BODY)).alarms(ALARMS)  # type: ignore[arg-type]
    assert found == [Alarm("LoudAlarm", "ALARM"), Alarm("CalmAlarm", "OK")]


# Drawings


def shown(*, empty: bool = False) -> Shown:
    found, monitor = widgets.read(json.dumps(BODY)), Monitor(CloudWatch(BODY, empty=empty))  # type: ignore[arg-type]
    start = NOON - timedelta(hours=3)
    series = {at: monitor.series(one, start, NOON) for at, one in enumerate(found.widgets) if one.kind == "metric"}
    return Shown("lake-flow", found, start, NOON, series, {0: monitor.alarms(ALARMS)})


@pytest.mark.parametrize("empty", [False, True])
def test_a_picture_is_as_large_as_the_grid(empty: bool) -> None:
    png = picture.to_png(shown(empty=empty))

    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (24 * picture.CELL_WIDTH, picture.HEAD + 14 * picture.CELL_HEIGHT)


def test_a_page_has_every_widget_where_cloudwatch_has_it_and_needs_nothing_else() -> None:
    page = picture.to_html(shown())

    assert page.count("<img ") == len(BODY["widgets"])
    assert f"left:{12 * picture.CELL_WIDTH + picture.MARGIN // 2}px" in page
    assert "http://" not in page
    assert "https://" not in page


def test_stacked_values_stand_on_each_other_in_their_period() -> None:
    some = [Series("a", "#000000", "Sum", ((NOON, 2.0),)), Series("b", "#000000", "Sum", ((NOON, 3.0), (NOON, 0.0)))]
    found = list(picture._points(some, 60, stacked=True))

    assert [(one["series"], one["below"], one["value"]) for one in found] == [("a", 0, 2), ("b", 2, 5)]
    assert found[0]["end"] == (NOON + timedelta(minutes=1)).isoformat()


def test_without_the_extra_the_picture_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(DashboardError, match="extra `pictures`"):
        picture.to_png(shown())


# The command


def test_the_terminal_shows_alarms_numbers_and_graphs(cloudwatch: CloudWatch) -> None:
    said = run("promise").stdout

    assert "lake-promise" in said
    assert said.index("LoudAlarm rings") < said.index("CalmAlarm")
    assert "CalmAlarm rings" not in said
    assert "received 22" in " ".join(said.split())
    assert "How many? (images)" in said
    assert len(cloudwatch.asked) == 3


def test_json_has_each_alarm_and_each_line_with_its_points(cloudwatch: CloudWatch) -> None:
    alarm, *others = [json.loads(line) for line in run("--json").stdout.splitlines()]

    assert alarm == {"alarm": "LoudAlarm", "state": "ALARM"}
    lines = [one for one in others if "graph" in one]
    assert [(one["graph"], one["line"], one["total"]) for one in lines[:2]] == [
        ("How many at all?", "received", 22),
        ("How many at all?", "seconds", 11),
    ]
    assert [value for _, value in lines[0]["points"]] == [0, 10, 1, 11]
    assert cloudwatch.asked


def test_graphs_without_numbers_are_named_at_the_end(cloudwatch: CloudWatch) -> None:
    cloudwatch.empty = True
    assert "Nothing in this time: How many? Of what?" in " ".join(run().stdout.split())


def test_a_file_is_a_picture_or_a_page_by_its_name(cloudwatch: CloudWatch, tmp_path: Path) -> None:
    assert run("-o", str(tmp_path / "flow.png")).exit_code == 0
    assert run("-o", str(tmp_path / "flow.html"), "--since", "2h").exit_code == 0

    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "flow.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert cloudwatch.asked[-1]["EndTime"] - cloudwatch.asked[-1]["StartTime"] == timedelta(hours=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "flow.pdf"), ".png or .html"),
        (("-o", "nowhere/flow.png"), "there is no folder"),
        (("--since", "3 hours"), "30m, 3h or 2d"),
        (("--since", "0h"), "30m, 3h or 2d"),
        (("prices",), "flow"),
        (("--json", "-o", "flow.png"), "standard output"),
    ],
)
def test_options_that_cannot_be_are_refused(cloudwatch: CloudWatch, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert cloudwatch.asked == []


def test_more_time_than_can_be_drawn_is_refused(cloudwatch: CloudWatch) -> None:
    result = run("--since", "25h")

    assert result.exit_code == 1
    assert "at most 24 hours" in result.stderr
    assert cloudwatch.asked == []


def test_a_dashboard_that_was_changed_beyond_drawing_is_named(cloudwatch: CloudWatch) -> None:
    cloudwatch.body = BODY | {"widgets": [widget("log", 0, 0)]}
    result = run()

    assert result.exit_code == 1
    assert "lake-flow was changed by hand" in " ".join(result.stderr.split())
