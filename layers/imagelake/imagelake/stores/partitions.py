"""The hours that Glue knows, and where the files of each are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Final

from imagelake.errors import Fault, InvalidKeyError
from imagelake.keys import Partition, catalog_prefix
from imagelake.stores.session import calling, client
from imagelake.values import to_iso

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import PartitionInputTypeDef, PartitionTypeDef

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

_PARTITIONS_AT_ONCE: Final = 100
"""BatchCreatePartition takes no more."""
_MOVED_AT: Final = "moved_at"


@dataclass(frozen=True)
class Table:
    """A table of the catalog, and the bucket that its files are in."""

    database: str
    name: str
    bucket: str


@dataclass(frozen=True)
class Registered:
    """An hour as Glue knows it.

    Args:
        partition: the hour.
        prefix: under which queries find its files, with a slash at its end.
        moved_at: since when; None where it never moved.
    """

    partition: Partition
    prefix: str
    moved_at: datetime | None


@cache
def _glue() -> "GlueClient":
    glue: GlueClient = client("glue")
    return glue


def register(table: Table, partitions: Sequence[Partition]) -> None:
    """Make hours known to Glue; one that is known already is left alone, wherever it is.

    Raises:
        Fault: Glue did not answer, denied access, or refused a partition for another reason.
    """
    for some in batched(partitions, _PARTITIONS_AT_ONCE, strict=False):
        with calling("BatchCreatePartition"):
            response = _glue().batch_create_partition(
                DatabaseName=table.database,
                TableName=table.name,
                PartitionInputList=[_input(table, partition, catalog_prefix(partition)) for partition in some],
            )
        for error in response.get("Errors", []):
            if (code := error["ErrorDetail"]["ErrorCode"]) != "AlreadyExistsException":
                raise Fault(f"{code} on BatchCreatePartition")


def registered(table: Table, until: Partition) -> list[Registered]:
    """The hours that Glue knows, up to and with `until`.

    Raises:
        Fault: Glue did not answer, or denied access.
    """
    found = []
    with calling("GetPartitions"):
        pages = (
            _glue()
            .get_paginator("get_partitions")
            .paginate(
                DatabaseName=table.database,
                TableName=table.name,
                Expression=f"ingest_date <= '{until.ingest_date}'",
                ExcludeColumnSchema=True,
            )
        )
        for page in pages:
            found += [_read(entry) for entry in page["Partitions"] if _is_hour(entry)]
    return [one for one in found if one.partition <= until]


def move(table: Table, partition: Partition, prefix: str, now: datetime) -> None:
    """Have queries that begin from now on find the files of an hour under `prefix`.

    Raises:
        Fault: Glue did not answer, denied access, or does not know the hour.
    """
    with calling("BatchUpdatePartition"):
        response = _glue().batch_update_partition(
            DatabaseName=table.database,
            TableName=table.name,
            Entries=[
                {
                    "PartitionValueList": [partition.ingest_date, partition.hour],
                    "PartitionInput": _input(table, partition, prefix) | {"Parameters": {_MOVED_AT: to_iso(now)}},
                }
            ],
        )
    for error in response.get("Errors", []):
        raise Fault(f"{error['ErrorDetail']['ErrorCode']} on BatchUpdatePartition")


def unregister(table: Table, partition: Partition) -> None:
    """Make Glue forget an hour; one that it does not know is fine.

    Raises:
        Fault: Glue did not answer, or denied access.
    """
    try:
        with calling("DeletePartition"):
            _glue().delete_partition(
                DatabaseName=table.database,
                TableName=table.name,
                PartitionValues=[partition.ingest_date, partition.hour],
            )
    except Fault as fault:
        if fault.code != "EntityNotFoundException":
            raise


def _read(entry: "PartitionTypeDef") -> Registered:
    moved_at = entry.get("Parameters", {}).get(_MOVED_AT)
    return Registered(
        Partition(*entry["Values"]),
        entry["StorageDescriptor"]["Location"].removeprefix("s3://").partition("/")[2],
        datetime.fromisoformat(moved_at) if moved_at else None,
    )


def _is_hour(entry: "PartitionTypeDef") -> bool:
    try:
        partition = Partition(*entry["Values"])
        return Partition.parse(partition.path) == partition
    except InvalidKeyError:
        return False


def _input(table: Table, partition: Partition, prefix: str) -> "PartitionInputTypeDef":
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    return {
        "Values": [partition.ingest_date, partition.hour],
        "StorageDescriptor": {
            "Location": f"s3://{table.bucket}/{prefix}",
            "Columns": [{"Name": name, "Type": kind} for name, kind in COLUMNS.items()],
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
        },
    }
