"""The analytical catalog: Parquet files in the lake bucket, registered hour by hour in Glue.

A file is named after the batch of stream records it was made from. Lambda hands a failed batch over again as it was,
so a retry writes the same files again and no row twice.
"""

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from functools import cache
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imagelake import object_store
from imagelake.aws import client
from imagelake.errors import Fault, InvalidKeyError
from imagelake.keys import Partition, catalog_prefix
from imagelake.model import ImageRecord
from imagelake.settings import WriteCatalogSettings

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import PartitionInputTypeDef

COLUMNS: Final = {
    "image_id": "string",
    "status": "string",
    "source": "string",
    "source_ref": "string",
    "received_at": "timestamp",
    "processed_at": "timestamp",
    "expires_at": "timestamp",
    "sha256": "string",
    "bytes": "bigint",
    "format": "string",
    "content_type": "string",
    "width": "int",
    "height": "int",
    "mode": "string",
    "frames": "int",
    "orientation": "int",
    "camera_make": "string",
    "camera_model": "string",
    "taken_at": "timestamp",
    "gps_lat": "double",
    "gps_lon": "double",
    "uploader": "string",
    "phash": "string",
    "dominant_color": "string",
    "brightness": "double",
    "sharpness": "double",
    "script": "string",
    "script_version": "string",
    "script_output": "string",
    "tags": "map<string,string>",
    "derivatives": "array<string>",
    "reason": "string",
}
"""The columns of the table `images` with their Hive types, in order."""

PARQUET: Final = "application/vnd.apache.parquet"
REPLACEMENTS: Final = 5
"""How often a file is read again because somebody else replaced it meanwhile."""

_DUCKDB_TYPES: Final = {
    "string": "VARCHAR",
    "map<string,string>": "MAP(VARCHAR, VARCHAR)",
    "array<string>": "VARCHAR[]",
}


_PARTITIONS_AT_ONCE: Final = 100
"""BatchCreatePartition takes no more."""


def batch_name(sequence_numbers: Iterable[str]) -> str:
    """The name of a batch of stream records: 32 hexadecimal digits, the same for the same records in the same order."""
    return hashlib.sha256("\n".join(sequence_numbers).encode()).hexdigest()[:32]


def write(records: Sequence[ImageRecord], batch: str, settings: WriteCatalogSettings) -> list[str]:
    """Write one Parquet file for each hour that `records` arrived in, and make the hours known to Glue.

    Args:
        records: at least one.
        batch: what to name the files.
        settings: where to.

    Returns:
        The keys of the files.

    Raises:
        Fault: S3 or Glue did not answer, or denied access.
    """
    by_partition: dict[Partition, list[ImageRecord]] = defaultdict(list)
    for record in records:
        by_partition[Partition(record.ingest_date, record.hour)].append(record)
    keys = []
    for partition, members in sorted(by_partition.items()):
        key = f"{catalog_prefix(partition)}{batch}.parquet"
        object_store.overwrite(settings.lake_bucket, key, to_parquet(members), PARQUET)
        keys.append(key)
    register(list(by_partition), settings)
    return keys


def to_parquet(records: Sequence[ImageRecord]) -> bytes:
    """The records as one Parquet file, sorted by arrival: Zstandard, statistics, times in microseconds."""
    import duckdb  # a quarter of a second and 60 MB that only the writer of the catalog pays for

    columns = {name: _DUCKDB_TYPES.get(kind, kind) for name, kind in COLUMNS.items()}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        rows, target = Path(folder, "rows.jsonl"), Path(folder, "rows.parquet")
        rows.write_text("\n".join(json.dumps(record.to_row()) for record in records), encoding="utf-8")
        table = database.read_json(str(rows), format="newline_delimited", columns=columns)
        table.order("received_at, image_id").write_parquet(str(target), compression="zstd")
        return target.read_bytes()


def erase(bucket: str, partition: Partition, image_ids: Set[str]) -> int:
    """Rewrite those files of an hour that have rows of these images, without them; a file may end up empty.

    Returns:
        How many rows are gone.

    Raises:
        Fault: S3 did not answer, or denied access, or others kept replacing a file.
    """
    return sum(_erase(bucket, key, image_ids) for key in object_store.keys(bucket, catalog_prefix(partition)))


def _erase(bucket: str, key: str, image_ids: Set[str]) -> int:
    for _ in range(REPLACEMENTS):
        found = object_store.read(bucket, key)
        if found is None:
            return 0
        content, etag = found
        rest, erased = without_rows(content, image_ids)
        if not erased or object_store.replace(bucket, key, rest, PARQUET, etag):
            return erased
    raise Fault("ConcurrentReplacement on PutObject")


def without_rows(content: bytes, image_ids: Set[str]) -> tuple[bytes, int]:
    """A Parquet file without the rows of these images, and how many those were."""
    import duckdb  # as in to_parquet

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        source, target = Path(folder, "before.parquet"), Path(folder, "after.parquet")
        source.write_bytes(content)
        rows = database.read_parquet(str(source), hive_partitioning=False)
        rest = rows.filter(
            duckdb.ColumnExpression("image_id").isnotin(*(duckdb.ConstantExpression(one) for one in sorted(image_ids)))
        )
        rest.order("received_at, image_id").write_parquet(str(target), compression="zstd")
        return target.read_bytes(), len(rows) - len(rest)


@cache
def _glue() -> "GlueClient":
    glue: GlueClient = client("glue")
    return glue


def register(partitions: Sequence[Partition], settings: WriteCatalogSettings) -> None:
    """Make hours known to Glue; one that is known already is left alone.

    Raises:
        Fault: Glue did not answer, denied access, or refused a partition for another reason.
    """
    for some in batched(partitions, _PARTITIONS_AT_ONCE, strict=False):
        with Fault.on("BatchCreatePartition"):
            response = _glue().batch_create_partition(
                DatabaseName=settings.catalog_database,
                TableName=settings.catalog_table,
                PartitionInputList=[_partition_input(partition, settings.lake_bucket) for partition in some],
            )
        for error in response.get("Errors", []):
            if (code := error["ErrorDetail"]["ErrorCode"]) != "AlreadyExistsException":
                raise Fault(f"{code} on BatchCreatePartition")


def registered(database: str, table: str, until: Partition) -> list[Partition]:
    """The hours that Glue knows, up to and with `until`.

    Raises:
        Fault: Glue did not answer, or denied access.
    """
    found = []
    with Fault.on("GetPartitions"):
        pages = (
            _glue()
            .get_paginator("get_partitions")
            .paginate(
                DatabaseName=database,
                TableName=table,
                Expression=f"ingest_date <= '{until.ingest_date}'",
                ExcludeColumnSchema=True,
            )
        )
        for page in pages:
            found += [Partition(*partition["Values"]) for partition in page["Partitions"]]
    return [partition for partition in found if partition <= until and _is_hour(partition)]


def _is_hour(partition: Partition) -> bool:
    try:
        return Partition.parse(partition.path) == partition
    except InvalidKeyError:
        return False


def unregister(database: str, table: str, partition: Partition) -> None:
    """Make Glue forget an hour; one that it does not know is fine.

    Raises:
        Fault: Glue did not answer, or denied access.
    """
    try:
        with Fault.on("DeletePartition"):
            _glue().delete_partition(
                DatabaseName=database, TableName=table, PartitionValues=[partition.ingest_date, partition.hour]
            )
    except Fault as fault:
        if fault.code != "EntityNotFoundException":
            raise


def _partition_input(partition: Partition, bucket: str) -> "PartitionInputTypeDef":
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    return {
        "Values": [partition.ingest_date, partition.hour],
        "StorageDescriptor": {
            "Location": f"s3://{bucket}/{catalog_prefix(partition)}",
            "Columns": [{"Name": name, "Type": kind} for name, kind in COLUMNS.items()],
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
        },
    }
