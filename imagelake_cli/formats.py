"""Answers as people and programs read them: a table, CSV, JSON lines, Parquet."""

import csv
import json
import math
import tempfile
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagelake_cli.athena import Answer, Value

_PARQUET_TYPES: Final = {
    **{kind: kind for kind in ("boolean", "tinyint", "smallint", "integer", "int", "bigint", "double", "date")},
    "float": "float",
    "real": "float",
    "decimal": "double",
    "timestamp": "timestamp",
    "timestamp with time zone": "timestamptz",
}
"""DuckDB's types for Athena's; all others are text."""
UNFOLDED: Final = 100_000
"""Characters of a line of a table that is not on a terminal."""
_NUMBERS: Final = {"tinyint", "smallint", "integer", "int", "bigint", "float", "real", "double", "decimal"}


class Format(StrEnum):
    """How an answer is written; files are named so."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class FormatError(Exception):
    """The answer cannot be written so; the message says why."""


def counted(count: int, noun: str) -> str:
    """As in 1 row, 2 rows."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """A text with an escape, as of Python, for each character that a terminal does not show, but may obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def say(line: str) -> None:
    """Print a line for people, of which a part may be of strangers."""
    typer.echo(printable(line))


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table; by default on standard output. Only a terminal folds long lines."""
    console = Console(file=file)
    Console(file=file, width=None if console.is_terminal else UNFOLDED).print(table)


def is_number(kind: str) -> bool:
    """Whether a type of Athena's is one of numbers."""
    return kind in _NUMBERS


def table(answer: Answer) -> Table:
    """For people: numbers to the right, nothing where there is no value."""
    shown = Table(box=None, pad_edge=False)
    for column in answer.columns:
        shown.add_column(
            Text(printable(column.name)), justify="right" if is_number(column.type) else "left", overflow="fold"
        )
    for row in answer.rows:
        shown.add_row(*(Text(_lines(_text(value))) for value in row))
    return shown


def write_csv(answer: Answer, file: TextIO) -> None:
    """With a header; no value and an empty text are both empty."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(column.name for column in answer.columns)
    writer.writerows([_text(value) for value in row] for row in answer.rows)


def write_json(answer: Answer, file: TextIO) -> None:
    """One object a row and line; times are ISO 8601, numbers that JSON does not know are null.

    Raises:
        FormatError: two columns have the same name.
    """
    names = [column.name for column in answer.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FormatError(f"Two columns are called {', '.join(twice)}: name them apart with AS.")
    for row in answer.rows:
        json.dump(dict(zip(names, map(_json, row), strict=True)), file, ensure_ascii=False)
        file.write("\n")


def write_parquet(answer: Answer, path: Path) -> None:
    """With the types of the query, decimals as double.

    Raises:
        FormatError: two columns have the same name, or there is none.
    """
    import duckdb  # a quarter of a second that the other formats do not need

    if not answer.columns:
        raise FormatError("There are no columns to write.")
    columns = {column.name: _PARQUET_TYPES.get(column.type, "varchar") for column in answer.columns}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        rows = Path(folder, "rows.jsonl")
        with rows.open("w", encoding="utf-8") as file:
            write_json(answer, file)
        database.execute("SET TimeZone = 'UTC'")
        database.read_json(str(rows), format="newline_delimited", columns=columns).write_parquet(str(path))


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.expandtabs().split("\n")))


def _text(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _json(value: Value) -> str | int | float | bool | None:
    match value:
        case Decimal():
            return float(value)
        case float() if not math.isfinite(value):
            return None
        case date():
            return value.isoformat()
        case _:
            return value
