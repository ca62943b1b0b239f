"""The register of windows in docs/reliability.md, held against workflows, templates and tests."""

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from imagelake.events import PUBLISHED
from tests.application import FUNCTION_FOLDERS, ROOT, TEMPLATE, read

REGISTER = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
WORKFLOWS = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in ROOT.glob("statemachine/*.asl.json")}
COMMANDS = {"imagelake upload"}


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their heads: window, what can fail, what closes it, shown by."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("Window", "---")]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def states(workflow: dict[str, Any]) -> Iterator[str]:
    """The names of all states, inner ones included."""
    for name, state in workflow["States"].items():
        yield name
        for inner in (state.get("ItemProcessor"), *state.get("Branches", ())):
            yield from states(inner) if inner else ()


def sources(resources: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Whatever starts a function or workflow: events, rules, schedules and mappings."""
    for name, resource in resources.items():
        kind = resource["Type"]
        if kind in ("AWS::Serverless::Function", "AWS::Serverless::StateMachine"):
            yield from (f"{name}.{event}" for event in resource["Properties"].get("Events", {}))
        elif kind in (
            "AWS::Events::Rule",
            "AWS::Scheduler::Schedule",
            "AWS::Lambda::EventSourceMapping",
            "AWS::Pipes::Pipe",
        ):
            yield name


def known() -> set[str]:
    """All that needs a row and is not a state."""
    beside = [read(path)["Resources"] for path in ROOT.glob("infra/*.yaml")]
    events = {event.detail_type() for event in PUBLISHED}
    return {*FUNCTION_FOLDERS, *events, *(name for part in (TEMPLATE["Resources"], *beside) for name in sources(part))}


@cache
def every_test() -> set[str]:
    """The names of all tests."""
    files = (file for folder in ("unit", "integration", "e2e") for file in (ROOT / "tests" / folder).rglob("test_*.py"))
    return {
        node.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def section_of(workflow: str) -> str:
    """The part of the register that says it is about the states of a workflow."""
    [section] = [one for one in REGISTER.split("\n## ") if f"States of `statemachine/{workflow}`" in one]
    return section


def departures(text: str) -> set[str]:
    """Where a register and the application differ, the workflows left aside."""
    named = {name for row in rows(text) for name in quoted(row[0])}
    all_states = {name for workflow in WORKFLOWS.values() for name in states(workflow)}
    return {
        *(f"{name} has no row" for name in known() - named),
        *(f"{name} is nothing of ours" for name in named - known() - all_states - COMMANDS),
        *(f"{name} is no test" for row in rows(text) for name in quoted(row[3]) - every_test()),
        *(f"{row[0]} is shown by nothing" for row in rows(text) if not quoted(row[3])),
        *(f"{row[0]} says too little" for row in rows(text) if len(row) != 4 or not all(row)),
    }


def test_the_register_has_a_row_for_all_that_can_fail_and_a_test_for_every_row() -> None:
    assert departures(REGISTER) == set()


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_state_of_a_workflow_has_a_row_in_its_section(workflow: str) -> None:
    named = {name for row in rows(section_of(workflow)) for name in quoted(row[0])}

    assert set(states(WORKFLOWS[workflow])) - named == set()
    assert named - set(states(WORKFLOWS[workflow])) - known() == set()


def test_the_register_is_not_empty() -> None:
    assert len(rows(REGISTER)) >= 40
    assert {"ingest_image.asl.json", "enforce_retention.asl.json"} <= WORKFLOWS.keys()
    assert {"ImageTopicOfSelfManagedKafka", "ReconcileFunction.EveryHour", "redrive_images"} <= known()


@pytest.mark.parametrize("name", sorted(known()))
def test_a_function_or_source_that_is_taken_out_is_noticed(name: str) -> None:
    assert departures(REGISTER.replace(f"`{name}`", "something")) >= {f"{name} has no row"}


@pytest.mark.parametrize("number", range(len(rows(REGISTER))))
def test_a_row_without_its_tests_or_with_one_that_is_not_there_is_noticed(number: int) -> None:
    row = rows(REGISTER)[number]

    assert f"{row[0]} is shown by nothing" in departures(f"| {row[0]} | a | b | by nobody |")
    assert "test_that_is_not_there is no test" in departures(f"| {row[0]} | a | b | `test_that_is_not_there` |")


def test_a_name_that_is_nothing_of_ours_is_noticed() -> None:
    assert "Attic is nothing of ours" in departures("| `Attic` | a | b | `test_may_run_twice` |")
