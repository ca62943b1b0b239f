"""The analytical catalog: Parquet files in the lake bucket, registered hour by hour in Glue.

A file is named after the batch of stream records it was made from. Lambda hands a failed batch over again as it was,
so a retry writes the same files again and no row twice.
"""

import hashlib
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imagelake.errors import Fault, OutOfTime
from imagelake.keys import ArrivalHour, catalog_file, catalog_prefix, compaction_prefix, may_hold
from imagelake.model import ImageRecord
from imagelake.schema import HIVE_COLUMNS
from imagelake.stores.buckets import Bucket, StoredObject
from imagelake.stores.catalog_table import CatalogTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PARQUET: Final = "application/vnd.apache.parquet"
_MERGED: Final = "merged-"
MERGE_MEMORY: Final = "2GB"
"""What merging may take before it goes on in files."""
REPLACEMENTS: Final = 5
"""How often a file is read again because somebody else replaced it meanwhile."""
DOWNLOADS: Final = 16
"""Files on their way from S3 at once."""
SLICE_FILES: Final = 500
SLICE_BYTES: Final = 200 * 1024 * 1024
"""How many files are looked into at once, and how large they may be together: `/tmp` of a function has 512 MB."""
_CAREFUL: Final[dict[str, str | bool | int | float | list[str]]] = {"memory_limit": "400MB"}
"""For functions of 1 GB."""

_DUCKDB_TYPES: Final = {
    "string": "VARCHAR",
    "map<string,string>": "MAP(VARCHAR, VARCHAR)",
    "array<string>": "VARCHAR[]",
}


def batch_name(sequence_numbers: Iterable[str]) -> str:
    """The name of a batch of stream records: 32 hexadecimal digits, the same for the same records in the same order."""
    return hashlib.sha256("\n".join(sequence_numbers).encode()).hexdigest()[:32]


def write(records: Sequence[ImageRecord], batch: str, table: CatalogTable, *, late: bool = False) -> list[str]:
    """Write one Parquet file for each hour that `records` arrived in, and make the hours known to Glue.

    Args:
        records: at least one.
        batch: what to name the files.
        table: where to.
        late: whether the records are so old that their hours may have been compacted or rebuilt with their rows: then
            rows that are in merged files are left out.

    Returns:
        The keys of the files.

    Raises:
        Fault: S3 or Glue did not answer, or denied access.
    """
    by_hour: dict[ArrivalHour, list[ImageRecord]] = defaultdict(list)
    for record in records:
        by_hour[ArrivalHour(record.ingest_date, record.hour)].append(record)
    keys = []
    for hour, members in sorted(by_hour.items()):
        key = catalog_file(hour, batch, {member.image_id for member in members})
        content = to_parquet(members)
        if late and (merged := _merged_files(table.lake_bucket, hour)):
            content, known = without_known(content, table.lake_bucket, merged)
            if known == len(members):
                continue
        table.lake_bucket.overwrite(key, content, PARQUET)
        keys.append(key)
    table.register(list(by_hour))
    return keys


def duckdb_columns() -> dict[str, str]:
    """The columns of a file with DuckDB's types, in order."""
    return {name: _DUCKDB_TYPES.get(kind, kind) for name, kind in HIVE_COLUMNS.items()}


def to_parquet(records: Sequence[ImageRecord]) -> bytes:
    """The records as one Parquet file, sorted by arrival: Zstandard, statistics, times in microseconds."""
    import duckdb  # a quarter of a second and 60 MB that only the writer of the catalog pays for

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        rows, target = Path(folder, "rows.jsonl"), Path(folder, "rows.parquet")
        rows.write_text("\n".join(json.dumps(record.to_row()) for record in records), encoding="utf-8")
        table = database.read_json(str(rows), format="newline_delimited", columns=duckdb_columns())
        table.order("received_at, image_id").write_parquet(str(target), compression="zstd")
        return target.read_bytes()


def merged_name(copy: str, number: int) -> str:
    """The name of a file with the rows of many batches, as they were merged into `copy`."""
    return f"{_MERGED}{batch_name([copy, str(number)])}.parquet"


def _merged_files(bucket: Bucket, hour: ArrivalHour) -> list[str]:
    keys = (key for prefix in (catalog_prefix(hour), compaction_prefix(hour)) for key in bucket.keys(prefix))
    return [key for key in keys if key.rpartition("/")[2].startswith(_MERGED)]


def without_known(content: bytes, bucket: Bucket, known: Iterable[str]) -> tuple[bytes, int]:
    """A Parquet file without the rows that one of the files `known` has too, and how many those were.

    A row is the same when image, status and the time of processing are.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    import duckdb  # as in to_parquet

    with tempfile.TemporaryDirectory() as folder, duckdb.connect(config=_CAREFUL) as database:
        source, target, other = (Path(folder, f"{name}.parquet") for name in ("before", "after", "other"))
        source.write_bytes(content)
        database.read_parquet(str(source), hive_partitioning=False).create("rest")
        total = _count(database)
        for key in known:  # one after the other: each may fill half the disk of a function
            if bucket.download(key, other):
                database.execute(
                    "DELETE FROM rest USING read_parquet($other) AS known WHERE rest.image_id = known.image_id"
                    " AND rest.status = known.status AND rest.processed_at IS NOT DISTINCT FROM known.processed_at",
                    {"other": str(other)},
                )
        left = _count(database)
        database.table("rest").write_parquet(str(target), compression="zstd")
        return target.read_bytes(), total - left


def _count(database: "DuckDBPyConnection") -> int:
    return int(database.sql("SELECT count(*) FROM rest").fetchall()[0][0])


def erase(bucket: Bucket, hour: ArrivalHour, image_ids: Set[str], deadline: float = math.inf) -> int:
    """Rewrite those files of an hour that have rows of these images, without them; a file may end up empty.

    Files are passed over by their names, then by their column of ids; the others are not touched. Whoever merges files
    meanwhile sees that what they had read has changed, or their result is seen here.

    Args:
        bucket: the lake bucket.
        hour: which.
        image_ids: whose rows.
        deadline: by `time.monotonic`; no file is looked into or rewritten after it.

    Returns:
        How many rows are gone; an hour that is being compacted has each of them twice.

    Raises:
        OutOfTime: the deadline has passed; says how many rows are gone until then.
        Fault: S3 did not answer, or denied access, or others kept replacing a file.
    """
    erased, looked_at = 0, set[StoredObject]()
    while True:
        files = {
            file
            for prefix in (catalog_prefix(hour), compaction_prefix(hour))
            for file in bucket.objects(prefix)
            if file.key.endswith(".parquet")
        }
        suspects = [file for file in sorted(files - looked_at) if may_hold(file.key, image_ids)]
        found = 0
        for some in _slices(suspects):
            if time.monotonic() > deadline:
                raise OutOfTime(erased + found)
            found += sum(_erase(bucket, key, image_ids) for key in _with_rows(bucket, some, image_ids))
        if not found:
            return erased
        erased, looked_at = erased + found, files


def _slices(files: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    """`files` in lists small enough for the disk of a function; a file that is larger is alone."""
    some: list[StoredObject] = []
    for file in files:
        if some and (len(some) == SLICE_FILES or sum(one.bytes for one in some) + file.bytes > SLICE_BYTES):
            yield some
            some = []
        some.append(file)
    if some:
        yield some


def _with_rows(bucket: Bucket, files: Sequence[StoredObject], image_ids: Set[str]) -> list[str]:
    """The keys of those files that have rows of these images; one that is gone has none."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(DOWNLOADS) as pool:
        keys = {Path(folder, f"{number}.parquet"): file.key for number, file in enumerate(files)}
        there = [
            path for path, found in zip(keys, pool.map(bucket.download, keys.values(), keys), strict=True) if found
        ]
        return [keys[path] for path in having_rows(there, image_ids)] if there else []


def having_rows(files: Sequence[Path], image_ids: Set[str]) -> list[Path]:
    """Those Parquet files, at least one, that have rows of these images; reads their statistics and one column."""
    import duckdb  # as in to_parquet

    with duckdb.connect(config=_CAREFUL) as database:
        found = database.execute(
            "SELECT DISTINCT filename FROM read_parquet($files, filename = true, hive_partitioning = false)"
            " WHERE image_id IN (SELECT unnest($image_ids))",
            {"files": [str(file) for file in files], "image_ids": sorted(image_ids)},
        ).fetchall()
    return sorted(Path(name) for (name,) in found)


def _erase(bucket: Bucket, key: str, image_ids: Set[str]) -> int:
    for _ in range(REPLACEMENTS):
        found = bucket.read(key)
        if found is None:
            return 0
        content, etag = found
        rest, erased = without_rows(content, image_ids)
        if not erased or bucket.replace(key, rest, PARQUET, etag):
            return erased
    raise Fault("ConcurrentReplacement on PutObject")


def without_rows(content: bytes, image_ids: Set[str]) -> tuple[bytes, int]:
    """A Parquet file without the rows of these images, in their order, and how many those were."""
    import duckdb  # as in to_parquet

    with tempfile.TemporaryDirectory() as folder, duckdb.connect(config=_CAREFUL) as database:
        source, target = Path(folder, "before.parquet"), Path(folder, "after.parquet")
        source.write_bytes(content)
        rows = database.read_parquet(str(source), hive_partitioning=False)
        rest = rows.filter(
            duckdb.ColumnExpression("image_id").isnotin(*(duckdb.ConstantExpression(one) for one in sorted(image_ids)))
        )
        rest.write_parquet(str(target), compression="zstd")
        return target.read_bytes(), len(rows) - len(rest)


def merge(sources: Sequence[Path], folder: Path, file_bytes: int) -> list[Path]:
    """The rows of Parquet files, each row once, in files of about `file_bytes` in `folder`, sorted by arrival."""
    import duckdb  # as in to_parquet

    target = folder / "merged"
    with duckdb.connect(config={"memory_limit": MERGE_MEMORY, "temp_directory": str(folder / "spilled")}) as database:
        # A batch that was written again after its hour was compacted has its rows twice.
        # Files of before have fewer columns than those of a version that added one.
        once = database.sql(
            "SELECT DISTINCT ON (image_id, status, processed_at) *"
            " FROM read_parquet($sources, hive_partitioning = false, union_by_name = true)",
            params={"sources": [str(source) for source in sources]},
        )
        once.order("received_at, image_id").write_parquet(str(target), compression="zstd", file_size_bytes=file_bytes)
    return sorted(target.iterdir(), key=lambda file: int(file.stem.rpartition("_")[2]))
