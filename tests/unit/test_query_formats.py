"""Answers written for people and programs."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from imagelake_cli import formats
from imagelake_cli.athena import Answer, Column
from imagelake_cli.formats import FormatError

COLUMNS = {
    "source": "varchar", "images": "bigint", "mb": "double", "share": "decimal", "is_new": "boolean",
    "day": "date", "hour": "timestamp", "at": "timestamp with time zone", "tags": "map",
}  # fmt: skip
HOUR = datetime(2026, 11, 22, 9)  # noqa: DTZ001  # Athena's timestamps have no zone
FULL = ["[b]käse[/b]", 3, 1.5, Decimal("0.10"), True, date(2026, 11, 22), HOUR, HOUR.replace(tzinfo=UTC), "{a=b}"]


def answer(*rows: list[Any], columns: dict[str, str] = COLUMNS) -> Answer:
    return Answer([Column(name, kind) for name, kind in columns.items()], list(rows))


def parquet(given: Answer, path: Path) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """The columns with their types, and the rows, as another program reads them."""
    formats.write_parquet(given, path)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        read = database.read_parquet(str(path))
        return dict(zip(read.columns, map(str, read.types), strict=True)), read.fetchall()


def test_csv_has_a_header_and_nothing_where_there_is_no_value() -> None:
    file = io.StringIO()

    formats.write_csv(answer(FULL, [None] * len(COLUMNS)), file)

    header, full, empty = file.getvalue().splitlines()
    assert header == ",".join(COLUMNS)
    assert full == "[b]käse[/b],3,1.5,0.10,true,2026-11-22,2026-11-22 09:00:00,2026-11-22 09:00:00+00:00,{a=b}"
    assert empty == "," * (len(COLUMNS) - 1)


def test_csv_quotes_what_would_break_a_line() -> None:
    file = io.StringIO()

    formats.write_csv(answer(['a,"b"\nc'], columns={"text": "varchar"}), file)

    assert file.getvalue() == 'text\n"a,""b""\nc"\n'


def test_json_is_one_typed_object_a_line() -> None:
    file = io.StringIO()

    formats.write_json(answer(FULL, [None] * len(COLUMNS)), file)

    full, empty = map(json.loads, file.getvalue().splitlines())
    assert full == {
        "source": "[b]käse[/b]", "images": 3, "mb": 1.5, "share": 0.1, "is_new": True, "day": "2026-11-22",
        "hour": "2026-11-22T09:00:00", "at": "2026-11-22T09:00:00+00:00", "tags": "{a=b}",
    }  # fmt: skip
    assert empty == dict.fromkeys(COLUMNS)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_numbers_that_it_does_not_know(number: float) -> None:
    file = io.StringIO()

    formats.write_json(answer([number], columns={"n": "double"}), file)

    assert file.getvalue() == '{"n": null}\n'


def test_parquet_keeps_types_and_values(tmp_path: Path) -> None:
    types, rows = parquet(answer(FULL, [None] * len(COLUMNS)), tmp_path / "a.parquet")

    assert types == {
        "source": "VARCHAR", "images": "BIGINT", "mb": "DOUBLE", "share": "DOUBLE", "is_new": "BOOLEAN",
        "day": "DATE", "hour": "TIMESTAMP", "at": "TIMESTAMP WITH TIME ZONE", "tags": "VARCHAR",
    }  # fmt: skip
    assert rows[0][:7] == ("[b]käse[/b]", 3, 1.5, 0.1, True, date(2026, 11, 22), HOUR)
    assert rows[1] == (None,) * len(COLUMNS)


def test_parquet_of_no_rows_has_the_columns(tmp_path: Path) -> None:
    types, rows = parquet(answer(), tmp_path / "a.parquet")

    assert (list(types), rows) == (list(COLUMNS), [])


def test_columns_of_the_same_name_are_refused_where_one_would_be_lost(tmp_path: Path) -> None:
    twice = Answer([Column("n", "bigint"), Column("n", "bigint")], [[1, 2]])

    with pytest.raises(FormatError, match="called n: name them apart with AS"):
        formats.write_json(twice, io.StringIO())
    with pytest.raises(FormatError, match="called n"):
        formats.write_parquet(twice, tmp_path / "a.parquet")


def test_a_table_shows_text_as_it_is_and_numbers_to_the_right() -> None:
    console = Console(file=io.StringIO(), width=200)

    console.print(
        formats.table(answer(["[b]x[/b]", 7], ["y", 1234], columns={"source": "varchar", "images": "bigint"}))
    )

    assert isinstance(console.file, io.StringIO)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "source    images",
        "[b]x[/b]       7",
        "y           1234",
    ]
