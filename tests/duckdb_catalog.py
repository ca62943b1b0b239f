"""The view and the named queries on DuckDB, over Parquet files that lie in folders named like their partitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from tools import sql


@contextmanager
def catalog_over(source: str, **config: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the table `images`, which is what `source` (in DuckDB's SQL) gives, and the view of it."""
    with duckdb.connect(config=config) as database:
        database.execute(f"CREATE VIEW images AS FROM {source}")
        sql.create_views(database)
        yield database


def parquet_under(folder: object) -> str:
    """All Parquet files of a folder, as a source."""
    return f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
