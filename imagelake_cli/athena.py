"""Questions in SQL: the one place that starts a query in a work group of Athena, awaits it and reads its answer."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef, RowTypeDef

type Value = str | int | float | bool | Decimal | date | datetime | None

NAMED_QUERIES_AT_ONCE: Final = 50
"""BatchGetNamedQuery takes no more."""
_FIRST_LOOK_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0


class QueryError(Exception):
    """Athena did not answer; the message is its reason."""


@dataclass(frozen=True)
class Column:
    """A column of an answer, with its type as Athena calls it: `varchar`, `bigint`, `timestamp`, …"""

    name: str
    type: str


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Args:
        columns: in the order of the query.
        rows: of `Value`: numbers, booleans and times as such, all else as the text that Athena writes.
        is_cut: there are more rows than were asked for.
        scanned_bytes: what Athena read.
        seconds: from the start of the query to its end, waiting in the queue included.
    """

    columns: list[Column]
    rows: list[list[Any]]
    is_cut: bool = False
    scanned_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class NamedQuery:
    """A query that the work group keeps, and the question that it answers."""

    name: str
    question: str
    sql: str


@dataclass(frozen=True)
class WorkGroup:
    """A work group, which keeps the results itself, and the database its queries are about."""

    athena: "AthenaClient"
    name: str
    database: str

    def named_queries(self) -> dict[str, NamedQuery]:
        """The queries it keeps about the database, by name, in alphabetical order."""
        pages = self.athena.get_paginator("list_named_queries").paginate(
            WorkGroup=self.name, PaginationConfig={"PageSize": NAMED_QUERIES_AT_ONCE}
        )
        found = [
            NamedQuery(one["Name"], one.get("Description", ""), one["QueryString"])
            for page in pages
            if page["NamedQueryIds"]
            for one in self.athena.batch_get_named_query(NamedQueryIds=page["NamedQueryIds"])["NamedQueries"]
            if one["Database"] == self.database
        ]
        return {query.name: query for query in sorted(found, key=lambda query: query.name)}

    def ask(
        self, sql: str, limit: int | None = None, report: Callable[[str, float], None] = lambda _state, _seconds: None
    ) -> Answer:
        """Run a query; an interrupt (Ctrl-C) stops it.

        Args:
            sql: one statement, as Athena takes it.
            limit: rows at most; by default all.
            report: is told the state and the seconds gone by, whenever they were looked up.

        Raises:
            QueryError: Athena could not answer, or somebody else stopped the query.
        """
        try:
            execution_id = self.athena.start_query_execution(
                QueryString=sql, WorkGroup=self.name, QueryExecutionContext={"Database": self.database}
            )["QueryExecutionId"]
        except self.athena.exceptions.InvalidRequestException as error:
            raise QueryError(error.response["Error"]["Message"]) from error
        try:
            execution = self._await_end(execution_id, report)
        except KeyboardInterrupt:
            self.athena.stop_query_execution(QueryExecutionId=execution_id)
            raise
        if execution["Status"]["State"] != "SUCCEEDED":
            raise QueryError(execution["Status"].get("StateChangeReason") or execution["Status"]["State"])
        columns, rows = self._read(execution_id, limit)
        statistics = execution.get("Statistics", {})
        return Answer(
            columns,
            rows[:limit],
            limit is not None and len(rows) > limit,
            statistics.get("DataScannedInBytes", 0),
            statistics.get("TotalExecutionTimeInMillis", 0) / 1000,
        )

    def _await_end(self, execution_id: str, report: Callable[[str, float], None]) -> "QueryExecutionTypeDef":
        began, pause = time.monotonic(), _FIRST_LOOK_SECONDS
        while True:
            execution = self.athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]
            state = execution["Status"]["State"]
            report(state, time.monotonic() - began)
            if state not in ("QUEUED", "RUNNING"):
                return execution
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_SECONDS)

    def _read(self, execution_id: str, limit: int | None) -> tuple[list[Column], list[list[Value]]]:
        """All pages, or as many as it takes for one row more than `limit`."""
        pages = iter(self.athena.get_paginator("get_query_results").paginate(QueryExecutionId=execution_id))
        first = next(pages)["ResultSet"]
        columns = [Column(one["Name"], one["Type"]) for one in first["ResultSetMetadata"]["ColumnInfo"]]

        def rows() -> Iterator["RowTypeDef"]:
            # The names of the columns come as the first row of a SELECT, and not of SHOW or DESCRIBE.
            has_header = first["Rows"] and _cells(first["Rows"][0]) == [column.name for column in columns]
            yield from first["Rows"][1 if has_header else 0 :]
            for page in pages:
                yield from page["ResultSet"]["Rows"]

        typed = [
            [_value(cell, column.type) for cell, column in zip(_fields(row, len(columns)), columns, strict=True)]
            for row in islice(rows(), None if limit is None else limit + 1)
        ]
        return columns, typed


def _cells(row: "RowTypeDef") -> list[str | None]:
    return [cell.get("VarCharValue") for cell in row["Data"]]


def _fields(row: "RowTypeDef", columns: int) -> list[str | None]:
    """As many as there are columns; DESCRIBE has one cell a row, with padded text and tabs between."""
    cells = _cells(row)
    if len(cells) == columns:
        return cells
    parts = [part.strip() for part in (cells[0] or "").split("\t")]
    return [*parts, *[None] * columns][:columns]


def _value(text: str | None, kind: str) -> Value:
    return text if text is None or kind not in _READ else _READ[kind](text)


def _zoned(text: str) -> datetime:
    """A time like `2026-11-22 09:00:00.000 Europe/Paris`, or with an offset for the zone."""
    moment, _, zone = text.rpartition(" ")
    if zone[0] in "+-":
        return datetime.fromisoformat(moment + zone)
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))


_READ: Final[dict[str, Callable[[str], Value]]] = {
    "boolean": lambda text: text == "true",
    **dict.fromkeys(("tinyint", "smallint", "integer", "int", "bigint"), int),
    **dict.fromkeys(("float", "real", "double"), float),
    "decimal": Decimal,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamp with time zone": _zoned,
}
"""How a type is read; all others stay text."""
