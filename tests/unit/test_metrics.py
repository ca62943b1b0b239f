"""The registry of metrics says what functions emit, and alarms use nothing else."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from imagelake import emission, metrics
from imagelake.engine import own_metrics
from imagelake.metrics import AwsMetric, Metric
from tests.application import FUNCTION_FOLDERS, ROOT, TEMPLATE, resources
from tools.metrics import PAGE, bill, page


@pytest.fixture(autouse=True)
def _nothing_added() -> Iterator[None]:
    emission._count_cold_start()
    emission._added.clear()
    yield
    emission._added.clear()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


COUNTED = Metric("Counted", "Count", "A thing.", ("a_function",))
BY_COLOUR = Metric("ByColour", "Count", "A thing.", ("a_function",), by="colour", values=("red", "blue"))


def test_what_was_added_is_written_with_its_unit_and_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    @emission.emits
    def handler(_event: None, _context: None) -> str:
        emission.add(COUNTED)
        emission.add(COUNTED, 3)
        emission.add(BY_COLOUR, of="red")
        return "answer"

    assert handler(None, None) == "answer"

    written = {line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"]: line for line in _lines(capsys)}
    [plain] = written["Counted"]["_aws"]["CloudWatchMetrics"]
    assert (plain["Namespace"], plain["Dimensions"]) == ("ImageLake", [["service"]])
    assert plain["Metrics"] == [{"Name": "Counted", "Unit": "Count"}]
    assert written["Counted"]["Counted"] == [1, 3]
    assert set(written["ByColour"]["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) == {"service", "colour"}
    assert written["ByColour"]["colour"] == "red"


def test_what_was_added_is_written_when_the_handler_raises(capsys: pytest.CaptureFixture[str]) -> None:
    @emission.emits
    def handler(_event: None, _context: None) -> None:
        emission.add(COUNTED)
        raise KeyError

    with pytest.raises(KeyError):
        handler(None, None)

    assert [line["Counted"] for line in _lines(capsys)] == [[1]]


def test_a_handler_that_adds_nothing_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    emission.emits(lambda _event, _context: None)(None, None)
    assert _lines(capsys) == []


def test_a_time_that_clocks_make_negative_counts_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in (-1.5, 0.0123456):
        emission.add_time(COUNTED, timedelta(seconds=seconds))
    emission.flush()
    assert [line["Counted"] for line in _lines(capsys)] == [[0.0, 12.3]]


def test_a_hundred_values_and_more_are_all_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (100, 101):
        for _ in range(count):
            emission.add(COUNTED)
        emission.flush()
        assert sum(len(line["Counted"]) for line in _lines(capsys)) == count


def test_only_the_first_invocation_of_a_process_is_a_cold_start(capsys: pytest.CaptureFixture[str]) -> None:
    emission._count_cold_start.cache_clear()
    handler = emission.emits(lambda _event, _context: None)
    for _ in range(3):
        handler(None, None)
    assert [line["ColdStarts"] for line in _lines(capsys)] == [[1]]


@pytest.mark.parametrize(("metric", "of"), [(COUNTED, "red"), (BY_COLOUR, None), (BY_COLOUR, "green")])
def test_a_value_outside_the_closed_list_of_a_dimension_is_refused(metric: Metric, of: str | None) -> None:
    with pytest.raises(ValueError, match=metric.name):
        emission.add(metric, of=of)


# The registry

ENGINE = {
    "process_image": {
        metrics.COLD_STARTS,
        metrics.MEASURES_MISSING,
        metrics.ENVIRONMENTS_GIVEN_UP,
        metrics.SCRIPT_FAILURES,
        metrics.SCRIPT_FAILURES_OF_ALL,
    }
}
"""Written by the engine itself, see `engine.own_metrics`."""


def _emitted(folder: str) -> set[Metric]:
    """What the file of a function names of the registry."""
    tree = ast.parse((ROOT / f"functions/{folder}/app.py").read_text(encoding="utf-8"))
    named = {
        getattr(metrics, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "metrics"
    }
    return {one for one in named if isinstance(one, Metric)} | ENGINE.get(folder, {metrics.COLD_STARTS})


def test_the_registry_says_which_function_emits_what() -> None:
    emitted = {(metric.name, folder) for folder in FUNCTION_FOLDERS for metric in _emitted(folder)}
    registered = {
        (metric.name, folder)
        for metric in metrics.OWN
        for folder in (FUNCTION_FOLDERS if metric.emitted_by == metrics.EVERY_FUNCTION else metric.emitted_by)
    }

    assert emitted == registered


@pytest.mark.parametrize("folder", [folder for folder in FUNCTION_FOLDERS if folder not in ENGINE])
def test_a_handler_writes_its_metrics(folder: str) -> None:
    tree = ast.parse((ROOT / f"functions/{folder}/app.py").read_text(encoding="utf-8"))
    [handler] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "handler"]

    assert ast.unparse(handler.decorator_list[0]) == "emission.emits", "outermost, so that what raises is counted too"


def test_nothing_else_emits_metrics() -> None:
    files = [*ROOT.glob("functions/*/app.py"), *ROOT.glob("tasks/*/app.py"), *ROOT.glob("layers/**/*.py")]
    emitters = {
        file.stem for file in files if {"EphemeralMetrics", "CloudWatchMetrics"} & set(_words(file.read_text()))
    }

    assert emitters == {"emission", "own_metrics"}


def _words(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=word) | ast.Constant(value=str(word)) | ast.alias(name=word):
                yield word


def test_names_are_unique() -> None:
    own = [one.name for one in metrics.OWN]
    aws = [(one.namespace, one.name, one.dimensions) for one in metrics.AWS]

    assert (len(set(own)), len(set(aws))) == (len(own), len(aws))


def test_what_the_engine_writes_is_a_metric_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    for metric in ENGINE["process_image"]:
        own_metrics.write(metric.name, 2, "said", {"version": "7"}, by=metric.by or "")
        [line] = _lines(capsys)
        [described] = line["_aws"]["CloudWatchMetrics"]
        assert described == {
            "Namespace": metric.namespace,
            "Dimensions": [list(metric.dimensions)],
            "Metrics": [{"Name": metric.name, "Unit": metric.unit}],
        }
        assert (line[metric.name], line["message"]) == (2, "said")


# Its users

EVERY: tuple[Metric | AwsMetric, ...] = (*metrics.OWN, *metrics.AWS)
REGISTERED = {(one.namespace, one.name, one.dimensions): one for one in EVERY}


ALARMS = {
    name: one["Properties"]
    for kind in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    for name, one in resources(kind).items()
}


def test_an_alarm_is_on_metrics_of_the_registry() -> None:
    for name, properties in ALARMS.items():
        if "AlarmRule" in properties:
            continue
        on = [one["MetricStat"]["Metric"] for one in properties.get("Metrics", ()) if "MetricStat" in one]
        for one in on or [properties]:
            dimensions = tuple(entry["Name"] for entry in one.get("Dimensions", ()))
            assert (one["Namespace"], one["MetricName"], dimensions) in REGISTERED, name


RUNBOOK = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_which_section_of_the_runbook_says_what_to_do(name: str) -> None:
    description = " ".join(str(ALARMS[name]["AlarmDescription"]).split())

    assert description.endswith(f" docs/operations.md#{name.lower()}")
    _, found, rest = RUNBOOK.partition(f"\n### {name}\n")
    assert found, "there is no such section"
    section = re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    assert re.findall(r"^\*\*(\w+)\*\*: \S", section, re.MULTILINE) == ["Means", "Look", "Do"]


def test_the_runbook_has_a_section_for_no_other_alarm() -> None:
    assert set(re.findall(r"^### (\w+Alarm)$", RUNBOOK, re.MULTILINE)) == set(ALARMS)


def test_the_gate_of_releases_is_of_alarms_that_are_there() -> None:
    [gate] = resources("AWS::CloudWatch::CompositeAlarm").values()
    named = set(re.findall(r'ALARM\("\$\{(\w+)\}"\)', gate["Properties"]["AlarmRule"]["Fn::Sub"]))

    assert named < set(ALARMS)
    assert not [name for name in named if "Condition" in TEMPLATE["Resources"][name]], "it may be missing"


# The page


def test_the_page_has_every_metric_and_the_bill() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert page(text) == text
    assert bill() in text
    for metric in REGISTERED.values():
        assert f"| `{metric.name}` |" in text


def test_the_page_says_which_run_rings_each_alarm() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## Which run rings which alarm")[2]
    rows = [re.findall(r"`([A-Za-z_]+)`", line) for line in text.splitlines() if re.match(r"\| `\w+Alarm` \|", line)]
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert {alarm for alarm, *_ in rows} == set(ALARMS)
    for alarm, *named in rows:
        assert {name for name in named if name.startswith("test_")} <= tests, alarm
        assert any(name.startswith("test_") for name in named), alarm


def test_the_bill_counts_each_value_of_a_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "OWN", (COUNTED, BY_COLOUR))
    assert bill() == "3 metrics of the lake's own, at most $0.90 a month"
