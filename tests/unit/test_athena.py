"""How a query is started, awaited, stopped and read, by the letter of Athena's API."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest
from botocore.stub import Stubber

from imagelake_cli import athena
from imagelake_cli.athena import Column, NamedQuery, QueryError, WorkGroup

PARIS = ZoneInfo("Europe/Paris")
ID = {"QueryExecutionId": "11111111-2222-3333-4444-555555555555"}
START = {"QueryString": "SELECT 1", "WorkGroup": "analysts", "QueryExecutionContext": {"Database": "lake"}}


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> WorkGroup:
    monkeypatch.setattr(athena, "_FIRST_LOOK_SECONDS", 0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return WorkGroup(boto3.client("athena", region_name="us-east-1"), "analysts", "lake")


@pytest.fixture
def stub(group: WorkGroup) -> Iterator[Stubber]:
    with Stubber(group.athena) as stub:
        yield stub
        stub.assert_no_pending_responses()


def ended(state: str, reason: str = "", **statistics: Any) -> dict[str, Any]:
    return {"QueryExecution": {"Status": {"State": state, "StateChangeReason": reason}, "Statistics": statistics}}


def page(types: dict[str, str], *rows: list[str | None], more: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "ResultSet": {
            "ResultSetMetadata": {"ColumnInfo": [{"Name": name, "Type": kind} for name, kind in types.items()]},
            "Rows": [{"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]} for row in rows],
        }
    }
    return answer | ({"NextToken": more} if more else {})


def succeed(stub: Stubber, *pages: dict[str, Any]) -> None:
    stub.add_response("start_query_execution", ID, START)
    statistics: dict[str, Any] = {"DataScannedInBytes": 2048, "TotalExecutionTimeInMillis": 1500}
    stub.add_response("get_query_execution", ended("SUCCEEDED", **statistics), ID)
    token: dict[str, str] = {}
    for one in pages:
        stub.add_response("get_query_results", one, ID | token)
        token = {"NextToken": one.get("NextToken", "")}


def test_no_place_for_results_is_sent_and_the_header_is_no_row(group: WorkGroup, stub: Stubber) -> None:
    succeed(stub, page({"one": "integer"}, ["one"], ["1"]))

    answer = group.ask("SELECT 1")

    assert (answer.columns, answer.rows) == ([Column("one", "integer")], [[1]])
    assert (answer.scanned_bytes, answer.seconds, answer.is_cut) == (2048, 1.5, False)


def test_the_states_are_reported_until_the_end(group: WorkGroup, stub: Stubber) -> None:
    stub.add_response("start_query_execution", ID, START)
    for state in ("QUEUED", "RUNNING", "SUCCEEDED"):
        stub.add_response("get_query_execution", ended(state), ID)
    stub.add_response("get_query_results", page({"one": "integer"}, ["one"]), ID)
    states: list[str] = []

    assert group.ask("SELECT 1", report=lambda state, _seconds: states.append(state)).rows == []
    assert states == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_every_type_is_read_and_no_value_is_none(group: WorkGroup, stub: Stubber) -> None:
    cells = {
        "boolean": ("true", True),
        "bigint": ("9007199254740993", 9007199254740993),
        "double": ("1.5E-3", 0.0015),
        "decimal": ("12.30", Decimal("12.30")),
        "date": ("2026-11-22", date(2026, 11, 22)),
        "timestamp": ("2026-11-22 09:10:11.123", datetime(2026, 11, 22, 9, 10, 11, 123000)),  # noqa: DTZ001  # it has no zone
        "timestamp with time zone": ("2026-11-22 09:00:00.000 Europe/Paris", datetime(2026, 11, 22, 9, tzinfo=PARIS)),
        "array": ("[a, b]", "[a, b]"),
        "varchar": ("", ""),
    }  # fmt: skip
    types = {f"a_{kind}": kind for kind in cells}
    values: list[str | None] = [text for text, _ in cells.values()]
    succeed(stub, page(types, [*types], values, [None] * len(cells)))

    read, empty = group.ask("SELECT 1").rows

    assert read == [value for _, value in cells.values()]
    assert empty == [None] * len(cells)


@pytest.mark.parametrize(("zone", "offset"), [("UTC", timedelta()), ("+01:00", timedelta(hours=1))])
def test_a_zone_is_a_name_or_an_offset(group: WorkGroup, stub: Stubber, zone: str, offset: timedelta) -> None:
    succeed(stub, page({"at": "timestamp with time zone"}, ["at"], [f"2026-11-22 09:00:00.000 {zone}"]))

    [[moment]] = group.ask("SELECT 1").rows

    assert moment == datetime(2026, 11, 22, 9, tzinfo=timezone(offset) if offset else UTC)


def test_all_pages_are_read_and_only_the_first_has_a_header(group: WorkGroup, stub: Stubber) -> None:
    types = {"name": "varchar"}
    succeed(stub, page(types, ["name"], ["a"], more="2"), page(types, ["name"], ["b"], more="3"), page(types, ["c"]))

    assert group.ask("SELECT 1").rows == [["a"], ["name"], ["b"], ["c"]]


def test_what_has_no_header_loses_no_row(group: WorkGroup, stub: Stubber) -> None:
    succeed(stub, page({"tab_name": "string"}, ["images"]))

    assert group.ask("SELECT 1").rows == [["images"]]


def test_a_description_is_split_into_its_columns(group: WorkGroup, stub: Stubber) -> None:
    types = dict.fromkeys(("col_name", "data_type", "comment"), "string")
    succeed(stub, page(types, ["image_id            \tstring              \tUUID                "], ["# Partitions"]))

    assert group.ask("SELECT 1").rows == [["image_id", "string", "UUID"], ["# Partitions", None, None]]


@pytest.mark.parametrize(("limit", "is_cut"), [(1, True), (2, False), (3, False)])
def test_a_limit_says_whether_there_is_more(group: WorkGroup, stub: Stubber, limit: int, is_cut: bool) -> None:
    succeed(stub, page({"n": "integer"}, ["n"], ["1"], ["2"]))

    answer = group.ask("SELECT 1", limit)

    assert (len(answer.rows), answer.is_cut) == (min(limit, 2), is_cut)


def test_pages_beyond_the_limit_are_not_read(group: WorkGroup, stub: Stubber) -> None:
    succeed(stub, page({"n": "integer"}, ["n"], ["1"], ["2"], more="2"))

    assert group.ask("SELECT 1", 1).is_cut


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_the_reason_of_a_query_that_did_not_succeed_is_the_error(group: WorkGroup, stub: Stubber, state: str) -> None:
    stub.add_response("start_query_execution", ID, START)
    stub.add_response("get_query_execution", ended(state, "COLUMN_NOT_FOUND: line 1:8"), ID)

    with pytest.raises(QueryError, match=r"^COLUMN_NOT_FOUND: line 1:8$"):
        group.ask("SELECT 1")


def test_a_query_that_is_refused_at_once_is_an_error(group: WorkGroup, stub: Stubber) -> None:
    stub.add_client_error("start_query_execution", "InvalidRequestException", "mismatched input")

    with pytest.raises(QueryError, match=r"^mismatched input$"):
        group.ask("SELECT 1")


def test_an_interrupt_stops_the_query(group: WorkGroup, stub: Stubber) -> None:
    stub.add_response("start_query_execution", ID, START)
    stub.add_response("get_query_execution", ended("RUNNING"), ID)
    stub.add_response("stop_query_execution", {}, ID)

    def interrupt(_state: str, _seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group.ask("SELECT 1", report=interrupt)


def test_named_queries_of_all_pages_about_the_database_come_by_name(group: WorkGroup, stub: Stubber) -> None:
    listing = {"WorkGroup": "analysts", "MaxResults": athena.NAMED_QUERIES_AT_ONCE}
    for ids, token in ((["1"], None), (["2"], "next")):
        query = {"Name": f"q{3 - int(ids[0])}", "QueryString": "SELECT 1"}
        named = [query | {"Database": "lake"}, query | {"Database": "other", "QueryString": "SELECT 2"}]
        stub.add_response(
            "list_named_queries",
            {"NamedQueryIds": ids} | ({} if token else {"NextToken": "next"}),
            listing | ({"NextToken": token} if token else {}),
        )
        stub.add_response("batch_get_named_query", {"NamedQueries": named}, {"NamedQueryIds": ids})

    assert list(group.named_queries().items()) == [
        ("q1", NamedQuery("q1", "", "SELECT 1")),
        ("q2", NamedQuery("q2", "", "SELECT 1")),
    ]
