"""The hours that Glue knows, and where the files of each are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Final

from imagelake.errors import Fault, InvalidKeyError
from imagelake.keys import ArrivalHour, catalog_prefix
from imagelake.schema import HIVE_COLUMNS
from imagelake.stores.buckets import Bucket
from imagelake.stores.session import calling, client
from imagelake.values import to_iso

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import PartitionInputTypeDef, PartitionTypeDef

_PARTITIONS_AT_ONCE: Final = 100
"""BatchCreatePartition takes no more."""
_MOVED_AT: Final = "moved_at"


@dataclass(frozen=True)
class Registered:
    """An hour as Glue knows it.

    Args:
        hour: which.
        prefix: under which queries find its files, with a slash at its end.
        moved_at: since when; None where it never moved.
    """

    hour: ArrivalHour
    prefix: str
    moved_at: datetime | None


@cache
def _glue() -> "GlueClient":
    glue: GlueClient = client("glue")
    return glue


def _read(entry: "PartitionTypeDef") -> Registered:
    moved_at = entry.get("Parameters", {}).get(_MOVED_AT)
    return Registered(
        ArrivalHour(*entry["Values"]),
        entry["StorageDescriptor"]["Location"].removeprefix("s3://").partition("/")[2],
        datetime.fromisoformat(moved_at) if moved_at else None,
    )


def _is_hour(entry: "PartitionTypeDef") -> bool:
    try:
        hour = ArrivalHour(*entry["Values"])
        return ArrivalHour.parse(hour.path) == hour
    except InvalidKeyError:
        return False


@dataclass(frozen=True)
class CatalogTable:
    """The table of the catalog in Glue, and the bucket that its files are in."""

    catalog_database: str
    catalog_table: str
    lake_bucket: Bucket

    def register(self, hours: Sequence[ArrivalHour]) -> None:
        """Make hours known to Glue; one that is known already is left alone, wherever it is.

        Raises:
            Fault: Glue did not answer, denied access, or refused a partition for another reason.
        """
        for some in batched(hours, _PARTITIONS_AT_ONCE, strict=False):
            self._create([self._input(hour, catalog_prefix(hour)) for hour in some])

    def _create(self, partitions: "Sequence[PartitionInputTypeDef]") -> bool:
        """Create partitions but for those that are there; whether none was."""
        with calling("BatchCreatePartition"):
            response = _glue().batch_create_partition(
                DatabaseName=self.catalog_database, TableName=self.catalog_table, PartitionInputList=partitions
            )
        codes = {error["ErrorDetail"]["ErrorCode"] for error in response.get("Errors", [])}
        for code in codes - {"AlreadyExistsException"}:
            raise Fault(f"{code} on BatchCreatePartition")
        return not codes

    def registered(self, until: ArrivalHour) -> list[Registered]:
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
                    DatabaseName=self.catalog_database,
                    TableName=self.catalog_table,
                    Expression=f"ingest_date <= '{until.ingest_date}'",
                    ExcludeColumnSchema=True,
                )
            )
            for page in pages:
                found += [_read(entry) for entry in page["Partitions"] if _is_hour(entry)]
        return [one for one in found if one.hour <= until]

    def find(self, hour: ArrivalHour) -> Registered | None:
        """An hour as Glue knows it, or None.

        Raises:
            Fault: Glue did not answer, or denied access.
        """
        try:
            with calling("GetPartition"):
                found = _glue().get_partition(
                    DatabaseName=self.catalog_database,
                    TableName=self.catalog_table,
                    PartitionValues=[hour.ingest_date, hour.hour],
                )
        except Fault as fault:
            if fault.code == "EntityNotFoundException":
                return None
            raise
        return _read(found["Partition"])

    def place(self, hour: ArrivalHour, prefix: str, now: datetime) -> None:
        """Have queries find the files of an hour under `prefix`, whether or not Glue knows the hour.

        Raises:
            Fault: Glue did not answer, or denied access.
        """
        if self.find(hour) is None:
            partition = self._input(hour, prefix) | {"Parameters": {_MOVED_AT: to_iso(now)}}
            if self._create([partition]):
                return
        self.move(hour, prefix, now)

    def move(self, hour: ArrivalHour, prefix: str, now: datetime) -> None:
        """Have queries that begin from now on find the files of an hour under `prefix`.

        Raises:
            Fault: Glue did not answer, denied access, or does not know the hour.
        """
        with calling("BatchUpdatePartition"):
            response = _glue().batch_update_partition(
                DatabaseName=self.catalog_database,
                TableName=self.catalog_table,
                Entries=[
                    {
                        "PartitionValueList": [hour.ingest_date, hour.hour],
                        "PartitionInput": self._input(hour, prefix) | {"Parameters": {_MOVED_AT: to_iso(now)}},
                    }
                ],
            )
        for error in response.get("Errors", []):
            raise Fault(f"{error['ErrorDetail']['ErrorCode']} on BatchUpdatePartition")

    def unregister(self, hour: ArrivalHour) -> None:
        """Make Glue forget an hour; one that it does not know is fine.

        Raises:
            Fault: Glue did not answer, or denied access.
        """
        try:
            with calling("DeletePartition"):
                _glue().delete_partition(
                    DatabaseName=self.catalog_database,
                    TableName=self.catalog_table,
                    PartitionValues=[hour.ingest_date, hour.hour],
                )
        except Fault as fault:
            if fault.code != "EntityNotFoundException":
                raise

    def _input(self, hour: ArrivalHour, prefix: str) -> "PartitionInputTypeDef":
        parquet = "org.apache.hadoop.hive.ql.io.parquet"
        return {
            "Values": [hour.ingest_date, hour.hour],
            "StorageDescriptor": {
                "Location": f"s3://{self.lake_bucket.name}/{prefix}",
                "Columns": [{"Name": name, "Type": kind} for name, kind in HIVE_COLUMNS.items()],
                "InputFormat": f"{parquet}.MapredParquetInputFormat",
                "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
                "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
            },
        }
