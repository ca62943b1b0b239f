"""What a lake keeps and when it is due, and the last word of its audit: the place that lists buckets and items."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from imagelake.errors import InvalidKeyError
from imagelake.keys import ArrivalHour

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

CLOSES_AFTER: Final = timedelta(hours=1, minutes=20)
"""From the beginning of an hour until no image arrives in it any more; its days begin then."""
GONE_AFTER: Final = timedelta(hours=2)
"""What is promised: gone so long after the days of whatever came first in an hour."""
_SHARDS: Final = "0123456789abcdef"
"""Of the index of items by expiry: the last digit of an image_id."""
STALE: Final = timedelta(hours=30)
"""An audit that is older says nothing of today: they run daily."""
LONGEST: Final = timedelta(days=31)
LAKE_PLACES: Final = ("derived", "catalog", "compaction")
"""What the lake bucket has beside each other."""

type State = Literal["overdue", "due", "next"]


class AuditPlace(BaseModel):
    """What a place held; `imagelake.audit.report` describes the fields."""

    model_config = ConfigDict(frozen=True)

    place: str
    objects: int
    bytes: int
    oldest_age_hours: float


class AuditFinding(BaseModel):
    """What is not as promised; `imagelake.audit.findings` describes the fields."""

    model_config = ConfigDict(frozen=True)

    kind: str
    place: str
    what: str
    count: int
    names: list[str]


class AuditReport(BaseModel):
    """The report of an audit; `imagelake.audit.report` describes the fields."""

    model_config = ConfigDict(frozen=True)

    as_of: AwareDatetime
    retention_days: int
    overdue: int
    early: int
    other: int
    oldest_age_hours: float
    places: list[AuditPlace]
    findings: list[AuditFinding]


class ReportError(Exception):
    """There is no report, or none that can be read; the message says which."""


@dataclass(frozen=True)
class Due:
    """What one place keeps of one hour: objects with all their versions, or items.

    `due_at` is when the purge may delete it, `gone_by` when it has to be gone.
    """

    hour: str
    place: str
    count: int
    bytes: int
    due_at: datetime
    gone_by: datetime

    def state(self, now: datetime) -> State:
        """Whether the promise is broken, the purge has it before it, or it stays for a while."""
        return "overdue" if now > self.gone_by else "due" if now >= self.due_at else "next"


@dataclass(frozen=True)
class KeptData:
    """The stores of a stack. `buckets` has the bucket of each place."""

    s3: "S3Client"
    dynamodb: "DynamoDBClient"
    audit_bucket: str
    buckets: Mapping[str, str]
    images_table: str
    retention_days: int

    def report(self, now: datetime, day: date | None = None) -> AuditReport:
        """The newest report, or the newest of a day (UTC).

        Raises:
            ReportError: there is none, or it cannot be read.
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        # Names of reports begin with their day and end with their time.
        within: dict[str, Any] = (
            {"Prefix": f"reports/date={day}/"} if day else {"Prefix": "reports/", "StartAfter": _since(now)}
        )
        pages: Any = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.audit_bucket, **within)
        keys = [one["Key"] for page in pages for one in page.get("Contents", []) if one["Key"].endswith(".json")]
        if not keys:
            when = f"of {day}" if day else f"of the last {LONGEST.days} days"
            raise ReportError(f"{self.audit_bucket} has no report {when}. The audit runs every day at 05:55 UTC.")
        text = self.s3.get_object(Bucket=self.audit_bucket, Key=max(keys))["Body"].read()
        try:
            return AuditReport.model_validate_json(text)
        except ValidationError:
            raise ReportError(f"s3://{self.audit_bucket}/{max(keys)} is no report of an audit.") from None

    def due(self, until: datetime) -> list[Due]:
        """What is due until then, by hour and place, the oldest first.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        found = [
            self._counted(place, hour)
            for place in self.buckets
            for hour in self._hours(place)
            if hour + self._retention + CLOSES_AFTER <= until
        ]
        return sorted([*found, *self._items(until)], key=lambda one: (one.hour, one.place))

    @property
    def _retention(self) -> timedelta:
        return timedelta(days=self.retention_days)

    def _hours(self, place: str) -> Iterator[datetime]:
        for day in self._folders(place, f"{place}/"):
            for folder in self._folders(place, day):
                try:
                    yield ArrivalHour.parse(folder.removeprefix(f"{place}/").removesuffix("/")).start
                except InvalidKeyError:  # outside the layout: the audit reports it
                    continue

    def _folders(self, place: str, prefix: str) -> Iterator[str]:
        """Folders in which there is any version or marker."""
        pages = self.s3.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.buckets[place], Prefix=prefix, Delimiter="/"):
            yield from (one["Prefix"] for one in page.get("CommonPrefixes", []))

    def _counted(self, place: str, hour: datetime) -> Due:
        prefix = f"{place}/{ArrivalHour.of(hour).path}/"
        count = size = 0
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.buckets[place], Prefix=prefix):
            versions = page.get("Versions", [])
            count += len(versions) + len(page.get("DeleteMarkers", []))
            size += sum(one.get("Size", 0) for one in versions)
        kept_until = hour + self._retention
        name = f"{hour:%Y-%m-%dT%H}"
        return Due(name, place, count, size, kept_until + CLOSES_AFTER, kept_until + GONE_AFTER)

    def _items(self, until: datetime) -> Iterable[Due]:
        """Items by hour; they are due one by one, so the first counts."""
        expiries: dict[str, list[float]] = defaultdict(list)
        pages = self.dynamodb.get_paginator("query")
        for shard in _SHARDS:
            found = pages.paginate(
                TableName=self.images_table,
                IndexName="by_expiry",
                KeyConditionExpression="expiry_shard = :shard AND expires_at <= :until",
                ExpressionAttributeValues={":shard": {"S": shard}, ":until": {"N": str(int(until.timestamp()))}},
                ProjectionExpression="ingest_date, #hour, expires_at",
                ExpressionAttributeNames={"#hour": "hour"},
            )
            for page in found:
                for item in page["Items"]:
                    day, hour = (item.get(name, {}).get("S", "?") for name in ("ingest_date", "hour"))
                    expiries[f"{day}T{hour}"].append(float(item["expires_at"]["N"]))
        for name, moments in expiries.items():
            first = datetime.fromtimestamp(min(moments), UTC)
            yield Due(name, "items", len(moments), 0, first, first + GONE_AFTER)


def _since(now: datetime) -> str:
    return f"reports/date={now - LONGEST:%Y-%m-%d}/"
