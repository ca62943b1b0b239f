"""The rows of the catalog, by the one column that the audit reads: which images have one."""

import shutil
import tempfile
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


def images_with_rows(result: Audit, bucket: str, prefixes: dict[datetime, set[str]]) -> dict[datetime, set[str] | None]:
    """The ids of the images that have a row.

    Args:
        result: takes what cannot be read.
        bucket: of the files.
        prefixes: of each hour: where its files are.

    Returns:
        By hour; None for an hour that could not be read whole.

    Raises:
        ClientError: S3 did not answer, or denied access.
    """
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found = pool.map(lambda hour: _of_hour(bucket, prefixes[hour]), prefixes)
    ids: dict[datetime, set[str] | None] = {}
    for hour, (image_ids, unreadable) in zip(prefixes, found, strict=True):
        ids[hour] = None if unreadable else image_ids
        result.report_all("misplaced", "catalog", "a file that cannot be read", unreadable)
    return ids


def _of_hour(bucket: str, prefixes: set[str]) -> tuple[set[str], list[str]]:
    s3: S3Client = client("s3")
    image_ids, unreadable = set[str](), list[str]()
    for prefix in sorted(prefixes):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for key in (entry["Key"] for entry in page.get("Contents", []) if entry["Key"].endswith(".parquet")):
                with tempfile.NamedTemporaryFile() as file:
                    try:
                        shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key)["Body"], file)
                        file.flush()
                        image_ids |= image_ids_in(Path(file.name))
                    except (*REFUSALS, duckdb.Error):
                        unreadable.append(key)
    return image_ids, unreadable


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One database for all threads, each with a cursor of its own: making one takes longer than reading a file."""
    return duckdb.connect(config={"threads": 1})


def image_ids_in(file: Path) -> set[str]:
    """The ids in one Parquet file.

    Raises:
        duckdb.Error: it is none, or has no such column.
    """
    with _database().cursor() as database:
        rows = database.execute("SELECT image_id FROM read_parquet(?, hive_partitioning = false)", [str(file)])
        return {row[0] for row in rows.fetchall()}


def prefix_of(hour: datetime) -> str:
    """Where the files of an hour are, and stay but for its compaction."""
    return f"catalog/{path_of(hour)}/"
