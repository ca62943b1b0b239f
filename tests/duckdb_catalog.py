"""The view and the named queries on DuckDB, over Parquet files that lie in folders named like their partitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import sqlglot

from local import sql


def to_duckdb(query: str) -> str:
    """Athena's SQL as DuckDB's."""
    return sqlglot.transpile(query, read="athena", write="duckdb")[0]


@contextmanager
def catalog_over(source: str, **config: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the table `images`, which is what `source` (in DuckDB's SQL) gives, and the view of it."""
    with duckdb.connect(config=config) as database:
        database.execute(f"CREATE VIEW images AS FROM {source}")
        for file in sql.VIEWS.glob("*.sql"):
            database.execute(f"CREATE VIEW {file.stem} AS {to_duckdb(sql.named(file.stem, sql.VIEWS)[1])}")
        yield database


def parquet_under(folder: object) -> str:
    """All Parquet files of a folder, as a source."""
    return f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
