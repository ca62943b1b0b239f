"""Answers to the named queries: of rows that are at hand, or of the local lake that is running."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
from sqlglot import exp

from imagelake import schema
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord
from local.lake import Lake
from tools import sql
from tools.dashboard.definition import Columns, ColumnType

type Value = str | int | float | datetime | None
type Rows = list[dict[str, Value]]

_TYPES: Final[dict[str, ColumnType]] = {
    "VARCHAR": "STRING",
    "INTEGER": "INTEGER",
    "BIGINT": "INTEGER",
    "HUGEINT": "INTEGER",
    "DOUBLE": "DECIMAL",
    "TIMESTAMP": "DATETIME",
}


class Catalog:
    """The table `images` and its view in memory, asked in Athena's SQL."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database

    def columns(self, query: str) -> Columns:
        """What the query answers."""
        described = self._database.execute(f"DESCRIBE {sql.to_duckdb(query)}").fetchall()
        return {name: _TYPES[kind] for name, kind, *_ in described}

    def ask(self, query: str) -> Rows:
        """The answer to the query."""
        answer = self._database.execute(sql.to_duckdb(query))
        names = [column[0] for column in answer.description or ()]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


@contextmanager
def catalog_of(records: Sequence[ImageRecord]) -> Iterator[Catalog]:
    """A catalog of these rows, by way of the files that `write_catalog` writes."""
    types = {name: exp.DataType.build(kind, dialect="hive").sql("duckdb") for name, kind in schema.HIVE_COLUMNS.items()}
    columns = ", ".join(f"{name} {kind}" for name, kind in (types | {"ingest_date": "TEXT", "hour": "TEXT"}).items())
    with duckdb.connect() as database, TemporaryDirectory() as folder:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(f"CREATE TABLE images ({columns})")
        by_hour: dict[ArrivalHour, list[ImageRecord]] = defaultdict(list)
        for record in records:
            by_hour[ArrivalHour(record.ingest_date, record.hour)].append(record)
        for partition, members in by_hour.items():
            file = Path(folder, partition.path, "batch.parquet")
            file.parent.mkdir(parents=True)
            file.write_bytes(parquet.to_parquet(members))
        if by_hour:
            database.execute(
                "INSERT INTO images BY NAME "
                "SELECT * FROM read_parquet(?, hive_partitioning = true, hive_types_autocast = false)",
                [f"{folder}/*/*/*.parquet"],
            )
        sql.create_views(database)
        yield Catalog(database)


def queries() -> dict[str, Columns]:
    """All named queries with what they answer."""
    with catalog_of(()) as empty:
        return {file.stem: empty.columns(sql.named(file.stem)[1]) for file in sql.query_files()}


def ask_lake(lake: Lake, query: str) -> Rows:
    """The answer of a lake to the query.

    Raises:
        QueryError: Athena could not answer.
    """
    answer = lake.analysts.ask(query)
    return [{column.name: value for column, value in zip(answer.columns, row, strict=True)} for row in answer.rows]
