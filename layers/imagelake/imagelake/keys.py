"""Where things are stored: the hour of arrival and the keys derived from it.

Every store is partitioned by the same hour, so purging an hour is dropping a prefix. Keys hold identifiers only.

    raw bucket    raw/ingest_date=2026-11-22/hour=09/<image_id>
    lake bucket   derived/ingest_date=2026-11-22/hour=09/<image_id>/<name>.<extension>
                  catalog/ingest_date=2026-11-22/hour=09/<batch>.parquet
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from imagelake.errors import InvalidKeyError

_RAW_KEY = re.compile(
    r"raw/ingest_date=(?P<ingest_date>\d{4}-\d{2}-\d{2})/hour=(?P<hour>[01]\d|2[0-3])/"
    r"(?P<image_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class Partition:
    """One hour of arrival, UTC.

    Args:
        ingest_date: `YYYY-MM-DD`.
        hour: `00` to `23`.
    """

    ingest_date: str
    hour: str

    @classmethod
    def of(cls, moment: datetime) -> "Partition":
        """The hour that `moment` (aware) falls into."""
        utc = moment.astimezone(UTC)
        return cls(f"{utc:%Y-%m-%d}", f"{utc:%H}")

    @property
    def path(self) -> str:
        """The Hive form, `ingest_date=…/hour=…`, without slashes at the ends."""
        return f"ingest_date={self.ingest_date}/hour={self.hour}"


@dataclass(frozen=True)
class RawKey:
    """The key of an image as it arrived."""

    partition: Partition
    image_id: str

    def __str__(self) -> str:
        return f"raw/{self.partition.path}/{self.image_id}"

    @classmethod
    def parse(cls, key: str) -> "RawKey":
        """Read a key back.

        Raises:
            InvalidKeyError: the key is not one that `RawKey` would have made.
        """
        match = _RAW_KEY.fullmatch(key)
        if match is None or not _is_date(match["ingest_date"]):
            raise InvalidKeyError(f"not a raw image key: {key!r}")
        return cls(Partition(match["ingest_date"], match["hour"]), match["image_id"])

    def derived(self, name: str, extension: str) -> str:
        """Key of the derivative `name` of this image in the lake bucket."""
        return f"derived/{self.partition.path}/{self.image_id}/{name}.{extension}"


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def catalog_prefix(partition: Partition) -> str:
    """Prefix, with a slash at its end, of the Parquet files of one hour in the lake bucket."""
    return f"catalog/{partition.path}/"
