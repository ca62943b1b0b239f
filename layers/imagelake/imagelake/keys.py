"""Where things are stored: the hour of arrival and the keys derived from it.

Every store is partitioned by the same hour, so purging an hour is dropping a prefix. Keys hold identifiers only.

    raw bucket    raw/ingest_date=2026-11-22/hour=09/<image_id>
    lake bucket   derived/ingest_date=2026-11-22/hour=09/<image_id>/<version>/<name>.<extension>
                  catalog/ingest_date=2026-11-22/hour=09/<batch>.<filter>.parquet
                  compaction/ingest_date=2026-11-22/hour=09/<copy>/<batch>.parquet
"""

import base64
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import quote

from imagelake.errors import InvalidKeyError

ARRIVAL_SLACK: Final = timedelta(minutes=20)
"""How long after the end of its hour an image may still arrive: an upload form is good for 15 minutes, and its upload
takes a while."""
CLOCK_SKEW: Final = timedelta(minutes=15)
"""How far an hour may begin ahead of a clock: clocks differ."""

FILTER_BITS: Final = 12
"""Bits of a file's filter for each image: about one file in 150 is then looked into in vain."""
MIN_FILTER_BYTES: Final = 4
MAX_FILTER_BYTES: Final = 450
"""Of a filter before it is encoded. S3 takes keys of 1,024 bytes."""
_PROBES: Final = 4

_DATE_AND_HOUR = r"ingest_date=(?P<ingest_date>\d{4}-\d{2}-\d{2})/hour=(?P<hour>[01]\d|2[0-3])"
_IMAGE_ID = r"(?P<image_id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_HOUR = re.compile(r"ingest_date=(\d{4}-\d{2}-\d{2})/hour=([01]\d|2[0-3])", re.ASCII)
_RAW_KEY = re.compile(rf"raw/{_DATE_AND_HOUR}/{_IMAGE_ID}", re.ASCII)
_RESULT_KEY = re.compile(rf"derived/{_DATE_AND_HOUR}/{_IMAGE_ID}/(?P<version>[^/]+)/result\.json", re.ASCII)


@dataclass(frozen=True, order=True)
class ArrivalHour:
    """One hour of arrival, UTC.

    Args:
        ingest_date: `YYYY-MM-DD`.
        hour: `00` to `23`.
    """

    ingest_date: str
    hour: str

    @classmethod
    def of(cls, moment: datetime) -> "ArrivalHour":
        """The hour that `moment` (aware) falls into."""
        utc = moment.astimezone(UTC)
        return cls(f"{utc:%Y-%m-%d}", f"{utc:%H}")

    @classmethod
    def parse(cls, path: str) -> "ArrivalHour":
        """Read a `path` back.

        Raises:
            InvalidKeyError: there is no such hour.
        """
        match = _HOUR.fullmatch(path)
        if match is None or not _is_date(match[1]):
            raise InvalidKeyError(f"not an hour of arrival: {path!r}")
        return cls(match[1], match[2])

    @property
    def start(self) -> datetime:
        """The first moment of the hour."""
        return datetime.fromisoformat(f"{self.ingest_date}T{self.hour}:00:00+00:00")

    @property
    def closed_at(self) -> datetime:
        """From when on no image arrives in this hour any more."""
        return self.start + timedelta(hours=1) + ARRIVAL_SLACK

    def arrival(self, stored_at: datetime) -> datetime:
        """When an image of this hour arrived: when its object was stored, unless that was a redrive, days later."""
        return min(stored_at, self.closed_at)

    def is_ahead_of(self, moment: datetime) -> bool:
        """Whether the hour has not begun at `moment`: nothing that is filed under it belongs there."""
        return self.start - CLOCK_SKEW > moment

    @property
    def path(self) -> str:
        """The Hive form, `ingest_date=…/hour=…`, without slashes at the ends."""
        return f"ingest_date={self.ingest_date}/hour={self.hour}"


@dataclass(frozen=True)
class RawKey:
    """The key of an image as it arrived."""

    hour: ArrivalHour
    image_id: str

    def __str__(self) -> str:
        return f"raw/{self.hour.path}/{self.image_id}"

    @classmethod
    def parse(cls, key: str) -> "RawKey":
        """Read a key back.

        Raises:
            InvalidKeyError: the key is not one that `RawKey` would have made.
        """
        match = _RAW_KEY.fullmatch(key)
        if match is None or not _is_date(match["ingest_date"]):
            raise InvalidKeyError(f"not a raw image key: {key!r}")
        return cls(ArrivalHour(match["ingest_date"], match["hour"]), match["image_id"])

    @property
    def derived_prefix(self) -> str:
        """Prefix, with a slash at its end, of all that was made of this image in the lake bucket, of any version."""
        return f"derived/{self.hour.path}/{self.image_id}/"


@dataclass(frozen=True)
class ImageVersion:
    """One version of a raw object. What is made of it has a folder of its own, so versions never mix.

    `version_id` is S3's.
    """

    key: RawKey
    version_id: str

    @property
    def prefix(self) -> str:
        """Prefix, with a slash at its end, of what was made of this version in the lake bucket."""
        # S3's ids of today need no quoting; it calls them opaque.
        return f"{self.key.derived_prefix}{quote(self.version_id, safe='')}/"

    def derived(self, name: str, extension: str) -> str:
        """Key of the derivative `name` in the lake bucket."""
        return f"{self.prefix}{name}.{extension}"

    @classmethod
    def of_rehearsal(cls, key: RawKey) -> "ImageVersion":
        """The version of an image that there is not, for the rehearsal of a release."""
        return cls(key, "rehearsal")

    @property
    def rehearsed(self) -> str:
        """Key of the picture of a rehearsal. It has no extension, so it is no derivative's."""
        return f"{self.prefix}picture"

    @property
    def order(self) -> str:
        """Key of what the task for large images is told to do with this version."""
        return f"{self.prefix}order.json"

    @property
    def result(self) -> str:
        """Key of what the task for large images says of this version."""
        return f"{self.prefix}result.json"

    @staticmethod
    def parse_result(key: str) -> tuple[RawKey, str]:
        """Read back the image of a `result`, and the version as the key spells it.

        Raises:
            InvalidKeyError: the key is not one that `result` would have made.
        """
        match = _RESULT_KEY.fullmatch(key)
        if match is None or not _is_date(match["ingest_date"]):
            raise InvalidKeyError(f"not a key of a result: {key!r}")
        return RawKey(ArrivalHour(match["ingest_date"], match["hour"]), match["image_id"]), match["version"]


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def catalog_file(hour: ArrivalHour, batch: str, image_ids: Collection[str]) -> str:
    """Key of the Parquet file with the rows of these images.

    The name has a Bloom filter of `image_ids`, so that whoever looks for the rows of one image among thousands of files
    finds them with the listing. A file of so many rows that its filter would tell nothing has none.
    """
    size = min(max(-(-FILTER_BITS * len(image_ids) // 8), MIN_FILTER_BYTES), MAX_FILTER_BYTES)
    if size * 8 < 2 * len(image_ids):
        return f"{catalog_prefix(hour)}{batch}.parquet"
    bits = bytearray(size)
    for image_id in image_ids:
        for probe in _probes(image_id, size):
            bits[probe // 8] |= 1 << probe % 8
    name = base64.urlsafe_b64encode(bits).decode().rstrip("=")
    return f"{catalog_prefix(hour)}{batch}.{name}.parquet"


def may_hold(key: str, image_ids: Collection[str]) -> bool:
    """Whether the Parquet file `key` may have rows of any of these images; one without a filter may have any."""
    match key.rpartition("/")[2].split("."):
        case [_, name, "parquet"]:
            bits = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
            return any(
                all(bits[probe // 8] >> probe % 8 & 1 for probe in _probes(image_id, len(bits)))
                for image_id in image_ids
            )
    return True


def _probes(image_id: str, size: int) -> Iterator[int]:
    digest = hashlib.sha256(image_id.encode()).digest()
    first, step = int.from_bytes(digest[:8]), int.from_bytes(digest[8:16]) | 1
    return ((first + number * step) % (8 * size) for number in range(_PROBES))


def catalog_prefix(hour: ArrivalHour) -> str:
    """Prefix, with a slash at its end, of the Parquet files of one hour in the lake bucket."""
    return f"catalog/{hour.path}/"


def compaction_prefix(hour: ArrivalHour) -> str:
    """Prefix, with a slash at its end, of the copies that stand in for the files of an hour while they are replaced."""
    return f"compaction/{hour.path}/"
