"""The rows of the catalog, by the two columns that the audit reads: which images have one, and of which outcome."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from imagelake.audit.clients import REFUSALS, client
from imagelake.audit.findings import Audit
from imagelake.audit.layout import path_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES_AT_ONCE = 8
"""In the 2 GB of the function's disk; a file has up to 128 MB."""

type Rows = dict[str, frozenset[str]]
"""The statuses that the rows of an image say, by image id."""


def found_by_queries(result: Audit, bucket: str, prefixes: dict[datetime, str]) -> dict[datetime, Rows | None]:
    """The rows of hours, as queries find them now, or once a compaction that is under way has ended.

    Args:
        result: takes what cannot be read.
        bucket: of the files.
        prefixes: of each hour: where queries look for its files.

    Returns:
        By hour; None for an hour that could not be read whole.

    Raises:
        ClientError: S3 did not answer, or denied access.
    """
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found = pool.map(lambda hour: _of_hour(bucket, prefix_of(hour), prefixes[hour]), prefixes)
    by_hour: dict[datetime, Rows | None] = {}
    for hour, (rows, unreadable) in zip(prefixes, found, strict=True):
        by_hour[hour] = None if unreadable else rows
        result.report_all("misplaced", "catalog", "a file that cannot be read", unreadable)
    return by_hour


def _of_hour(bucket: str, home: str, prefix: str) -> tuple[Rows, list[str]]:
    s3: S3Client = client("s3")
    rows: Rows = {}
    try:
        keys = _found(bucket, home, prefix)
    except (*REFUSALS, ValueError):
        return rows, [f"{prefix}{_SOURCES}"]
    unreadable = list[str]()
    for key in keys:
        with tempfile.NamedTemporaryFile() as file:
            try:
                shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key)["Body"], file)
                file.flush()
                for image_id, status in rows_in(Path(file.name)):
                    rows[image_id] = _one_set(rows.get(image_id, frozenset()) | {status})
            except (*REFUSALS, duckdb.Error):
                unreadable.append(key)
    return rows, unreadable


def _found(bucket: str, home: str, prefix: str) -> list[str]:
    """The files of an hour. Beside a copy that compaction has made, these are the ones that came after it."""
    copy = list(_files(bucket, prefix))
    if prefix == home or not copy:
        return copy
    s3: S3Client = client("s3")
    copied = json.loads(s3.get_object(Bucket=bucket, Key=f"{prefix}{_SOURCES}")["Body"].read())
    return [*copy, *(key for key in _files(bucket, home) if key not in copied)]


_SOURCES = "_sources.json"
"""Names the files that a copy has the rows of."""


def _files(bucket: str, prefix: str) -> Iterator[str]:
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", []) if entry["Key"].endswith(".parquet"))


@cache
def _one_set(statuses: frozenset[str]) -> frozenset[str]:
    """The same object for the same statuses: millions of images have one of a few."""
    return statuses


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One database for all threads, each with a cursor of its own: making one takes longer than reading a file."""
    return duckdb.connect(config={"threads": 1})


def rows_in(file: Path) -> list[tuple[str, str]]:
    """Image and status of each row in one Parquet file.

    Raises:
        duckdb.Error: it is none, or has no such columns.
    """
    with _database().cursor() as database:
        query = "SELECT image_id, status FROM read_parquet(?, hive_partitioning = false)"
        return database.execute(query, [str(file)]).fetchall()


def prefix_of(hour: datetime) -> str:
    """Where the files of an hour are, and stay but for its compaction."""
    return f"catalog/{path_of(hour)}/"
