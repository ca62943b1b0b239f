"""The audit: walks every place where images rest, lists, and says what is overdue, gone too early or out of place.

Knows the promise and the layout, and nothing of the purge: it imports no other module of this package, so a mistake
there cannot hide itself here. It lists data and reads none; receipts are all it opens.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import boto3

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

GRACE: Final = timedelta(hours=2)
"""What is promised: kept for the days of retention, and gone within this time after them."""
FORGOTTEN_UPLOAD: Final = timedelta(days=1)
SETTLED: Final = timedelta(hours=2)
"""How long an image may take to be in every place where it belongs, retries and reconciliation included."""
MOST_NAMED: Final = 20
"""How many of a finding's objects the report names; it counts them all."""

type Kind = Literal["overdue", "early", "misplaced", "late", "incomplete"]
"""`overdue`: still there. `early`: gone, or deleted, before its days were over. `misplaced`: where no purge would find
it. `late`: deleted, but after the promised time. `incomplete`: a store, or a receipt, that lacks its counterpart."""

_HOUR: Final = r"ingest_date=(\d{4}-\d\d-\d\d)/hour=([01]\d|2[0-3])"
_LAYOUT: Final = {
    "raw": re.compile(rf"raw/{_HOUR}/([0-9a-f-]{{36}})"),
    # Until 7 days after an update of the stack there are some without the folder of their version.
    "derived": re.compile(rf"derived/{_HOUR}/([0-9a-f-]{{36}})/(?:[^/]+/)?[^/]+"),
    "catalog": re.compile(rf"catalog/{_HOUR}/[^/]+\.parquet()"),
    "compaction": re.compile(rf"compaction/{_HOUR}/[^/]+/([^/]+\.parquet|_sources\.json)()"),
}


@dataclass
class Finding:
    """Something that is not as promised, in one place: how many, and some of them by name."""

    kind: Kind
    place: str
    what: str
    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class Place:
    """What one place holds: `oldest_age_hours` is of the oldest image or row there, since its arrival."""

    name: str
    objects: int = 0
    bytes: int = 0
    oldest_age_hours: float = 0.0


@dataclass
class Audit:
    """The result of one audit."""

    as_of: datetime
    retention_days: int
    places: dict[str, Place] = field(default_factory=dict)
    findings: dict[tuple[Kind, str, str], Finding] = field(default_factory=dict)

    @property
    def overdue(self) -> int:
        """How much is still there that should be gone, or was deleted later than promised."""
        return self._count("overdue") + self._count("late")

    @property
    def early(self) -> int:
        """How much was deleted too early."""
        return self._count("early")

    @property
    def oldest_age_hours(self) -> float:
        """Age of the oldest image or row anywhere, in hours since its arrival."""
        return max((place.oldest_age_hours for place in self.places.values()), default=0.0)

    def report(self, kind: Kind, place: str, what: str, name: str, count: int = 1) -> None:
        """Note that `name` is not as promised."""
        finding = self.findings.setdefault((kind, place, what), Finding(kind, place, what))
        finding.count += count
        if len(finding.names) < MOST_NAMED:
            finding.names.append(name)

    def _count(self, kind: Kind) -> int:
        return sum(finding.count for finding in self.findings.values() if finding.kind == kind)


@dataclass
class _Seen:
    """Image ids by hour and place, and hours that have files or partitions, to compare the places with each other."""

    raw: dict[datetime, set[str]] = field(default_factory=lambda: defaultdict(set))
    derived: dict[datetime, set[str]] = field(default_factory=lambda: defaultdict(set))
    catalog: set[datetime] = field(default_factory=set)
    partitions: set[datetime] = field(default_factory=set)


@cache
def client(service: str) -> Any:
    """The process's client of an AWS service; its errors are raised as they are."""
    return boto3.client(service)  # type: ignore[call-overload]  # the stubs know services by literal names only


@dataclass(frozen=True)
class Auditor:
    """The auditor of a stack: which places it walks, and what is promised."""

    raw_bucket: str
    lake_bucket: str
    audit_bucket: str
    images_table: str
    catalog_database: str
    catalog_table: str
    dead_letter_queue_url: str
    retention_days: int

    def run(self, now: datetime) -> Audit:
        """Walk all places.

        Raises:
            ClientError: a service did not answer, or denied access.
        """
        result, seen = Audit(now, self.retention_days), _Seen()
        _walk_bucket(result, seen, self.raw_bucket, ("raw",))
        _walk_bucket(result, seen, self.lake_bucket, ("derived", "catalog", "compaction"))
        for bucket in (self.raw_bucket, self.lake_bucket):
            _walk_parts(result, bucket)
        _walk_partitions(result, seen, self.catalog_database, self.catalog_table)
        _walk_table(result, seen, self.images_table)
        _check_queue(result, self.dead_letter_queue_url)
        _read_receipts(result, self.audit_bucket)
        return result


def _walk_bucket(result: Audit, seen: _Seen, bucket: str, roots: tuple[str, ...]) -> None:
    places = {root: result.places.setdefault(root, Place(root)) for root in roots}
    for entry, is_marker in _versions(bucket):
        key, age = entry["Key"], result.as_of - entry["LastModified"]
        root = key.partition("/")[0]
        match = _LAYOUT[root].fullmatch(key) if root in places else None
        if match is None:
            result.report("misplaced", bucket, "an object outside the layout", key)
            if age > _limit(result):
                result.report("overdue", bucket, "an object outside the layout", key)
            continue
        hour = _hour(match[1], match[2])
        place = places[root]
        place.objects += 1
        place.bytes += entry.get("Size", 0)
        # What is made from an image, or late again, is younger than the image: its hour counts, not its own age.
        place.oldest_age_hours = max(place.oldest_age_hours, _hours(result.as_of - hour), _hours(age))
        is_overdue = age > _limit(result) if root == "raw" else False
        if is_overdue or result.as_of - hour > _limit(result):
            what = "a delete marker" if is_marker else "an object" if entry["IsLatest"] else "a noncurrent version"
            result.report("overdue", root, what, key)
        elif is_marker and result.as_of - hour < timedelta(days=result.retention_days):
            result.report("early", root, "an object hidden by a delete marker", key)
        if root in ("catalog", "compaction"):
            seen.catalog.add(hour)
        elif not is_marker and entry["IsLatest"]:
            (seen.raw if root == "raw" else seen.derived)[hour].add(match[3])


def _versions(bucket: str) -> Iterator[tuple[Any, bool]]:
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            yield version, False
        for marker in page.get("DeleteMarkers", []):
            yield marker, True


def _walk_parts(result: Audit, bucket: str) -> None:
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            if result.as_of - upload["Initiated"] > FORGOTTEN_UPLOAD + GRACE:
                result.report("overdue", bucket, "an unfinished multipart upload", upload["Key"])


def _walk_partitions(result: Audit, seen: _Seen, database: str, table: str) -> None:
    place = result.places.setdefault("partitions", Place("partitions"))
    glue: GlueClient = client("glue")
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName=database, TableName=table, ExcludeColumnSchema=True
    )
    for partition in (partition for page in pages for partition in page["Partitions"]):
        name = "/".join(partition["Values"])
        place.objects += 1
        match = re.fullmatch(_HOUR, "ingest_date={}/hour={}".format(*partition["Values"]))
        if match is None:
            result.report("misplaced", "partitions", "a partition that is no hour", name)
            continue
        hour = _hour(match[1], match[2])
        seen.partitions.add(hour)
        place.oldest_age_hours = max(place.oldest_age_hours, _hours(result.as_of - hour))
        if result.as_of - hour > _limit(result):
            result.report("overdue", "partitions", "a partition", name)
    for hour in seen.partitions - seen.catalog:
        result.report("incomplete", "partitions", "a partition without data", _name(hour))
    for hour in seen.catalog - seen.partitions:
        if result.as_of - hour > SETTLED + timedelta(hours=1):
            result.report("incomplete", "catalog", "data without a partition", _name(hour))


def _walk_table(result: Audit, seen: _Seen, table: str) -> None:
    place = result.places.setdefault("items", Place("items"))
    with_items: set[str] = set()
    for item in _items(table):
        image_id, status = item["image_id"]["S"], item.get("status", {}).get("S", "")
        expires_at, received_at = item.get("expires_at", {}).get("N"), item.get("received_at", {}).get("S")
        place.objects += 1
        if expires_at is None or "expiry_shard" not in item:
            result.report("misplaced", "items", "an item that never expires", image_id)
        elif result.as_of - datetime.fromtimestamp(int(expires_at), UTC) > GRACE:
            result.report("overdue", "items", f"an item ({status})", image_id)
        hour = _hour(item["ingest_date"]["S"], item["hour"]["S"])
        with_items.add(image_id)
        if status == "erased":
            for root, there in (("raw", seen.raw), ("derived", seen.derived)):
                if any(image_id in image_ids for image_ids in there.values()):
                    result.report("overdue", root, "an image that was erased on request", image_id)
            continue
        if received_at is None:
            continue
        age = result.as_of - datetime.fromisoformat(received_at)
        place.oldest_age_hours = max(place.oldest_age_hours, _hours(age))
        if status not in ("processed", "rejected", "failed") or age >= timedelta(days=result.retention_days):
            continue
        if image_id not in seen.raw[hour]:
            result.report("early", "raw", "an image without its file", image_id)
        if item.get("derivatives", {}).get("L") and image_id not in seen.derived[hour]:
            result.report("early", "derived", "an image without its derivatives", image_id)
        if age > SETTLED and hour not in seen.catalog:
            result.report("early", "catalog", "an image without a row", image_id)
    for hour, image_ids in seen.raw.items():
        # A record that Kafka delivered again has its item where it came first, up to a day earlier.
        if SETTLED + timedelta(hours=1) < result.as_of - hour < timedelta(days=result.retention_days - 1):
            for image_id in sorted(image_ids - with_items):
                result.report("early", "items", "an image without an item", image_id)


def _items(table: str) -> Iterator[dict[str, Any]]:
    dynamodb: DynamoDBClient = client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression="image_id, #status, received_at, expires_at, expiry_shard, ingest_date, #hour, "
        "derivatives",
        ExpressionAttributeNames={"#status": "status", "#hour": "hour"},
    )
    for page in pages:
        yield from page["Items"]


def _check_queue(result: Audit, queue_url: str) -> None:
    sqs: SQSClient = client("sqs")
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["MessageRetentionPeriod"])
    kept = timedelta(seconds=int(answer["Attributes"]["MessageRetentionPeriod"]))
    if kept >= timedelta(days=result.retention_days):
        result.report("misplaced", "dead letters", "a queue that keeps messages for too long", str(kept))


def _read_receipts(result: Audit, bucket: str) -> None:
    """The receipts of the last two days, whatever hour they are for: nothing that an earlier audit missed is lost."""
    first = result.as_of - timedelta(days=result.retention_days + 3)
    s3: S3Client = client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="receipts/purges/", StartAfter=f"receipts/purges/ingest_date={first:%Y-%m-%d}"
    )
    for entry in (entry for page in pages for entry in page.get("Contents", [])):
        if result.as_of - entry["LastModified"] <= timedelta(days=2):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            _check_receipt(result, entry["Key"], json.loads(body))


def _check_receipt(result: Audit, name: str, receipt: dict[str, Any]) -> None:
    store, purged_at = receipt["store"], datetime.fromisoformat(receipt["purged_at"])
    if receipt["state"] == "started":
        if result.as_of - purged_at > SETTLED:
            result.report("incomplete", store, "a run of the purge that was interrupted", name)
        return
    if not receipt["objects"] or store in ("awaited_uploads", "tombstones"):
        return
    promised = timedelta(days=result.retention_days)
    hour = _hour(receipt["ingest_date"], receipt["hour"])
    if purged_at < hour + timedelta(hours=1) + promised and store != "items":
        result.report("early", store, "deleted before its days were over", name, receipt["objects"])
    if store == "items" and receipt["newest_age_hours"] < _hours(promised):
        result.report("early", store, "deleted before its days were over", name, receipt["objects"])
    if purged_at > hour + promised + GRACE:
        result.report("late", store, "deleted later than promised", name, receipt["objects"])


def _limit(result: Audit) -> timedelta:
    return timedelta(days=result.retention_days) + GRACE


def _hour(ingest_date: str, hour: str) -> datetime:
    return datetime.fromisoformat(f"{ingest_date}T{hour}:00:00+00:00")


def _name(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d/%H}"


def _hours(age: timedelta) -> float:
    return age / timedelta(hours=1)
