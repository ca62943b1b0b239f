"""The audit: walks every place where images rest, lists, and says what is overdue, gone too early or out of place.

Knows the promise and the layout, and nothing of the purge: it imports no other module of this package, so a mistake
there cannot hide itself here. It lists images and reads none; of the catalog it reads which images have a row.
What is malformed is reported, and the walk goes on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from imagelake.audit import rows
from imagelake.audit.clients import client
from imagelake.audit.configuration import LIFECYCLE_TRAILS, KeptBucket, Settings, check_configuration
from imagelake.audit.evidence import check_evidence
from imagelake.audit.findings import Audit, Place
from imagelake.audit.layout import (
    CLOCK_SKEW,
    FORGOTTEN_UPLOAD,
    GRACE,
    LAYOUT,
    REHEARSAL,
    SETTLED,
    SETTLED_HOUR,
    hour_of,
    name_of,
    path_of,
)
from imagelake.audit.rows import Rows

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

FAILED_RECORDS_DAYS: Final = 4
"""How long lifecycle keeps a Kafka record that could not be taken."""
CHART_RESULTS_DAYS: Final = 1
FORSAKEN_COPY: Final = timedelta(days=1)
"""A copy of compaction that is older serves nobody."""
OUTCOMES: Final = ("processed", "rejected", "failed")


@dataclass
class _Seen:
    """Images by hour and place, and hours that have files or partitions, to compare the places with each other."""

    raw: dict[datetime, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    derived: dict[datetime, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Of files, by image."""
    catalog: set[datetime] = field(default_factory=set)
    partitions: dict[datetime, str] = field(default_factory=dict)
    """Where queries find the files of an hour: the prefix in the lake bucket."""
    rows: dict[datetime, Rows | None] = field(default_factory=dict)
    """Of hours that are settled; None where they could not be read."""
    with_items: set[str] = field(default_factory=set)
    with_outcome: Counter[datetime] = field(default_factory=Counter)
    without_row: Counter[datetime] = field(default_factory=Counter)
    """How many images of an hour should have their rows, and how many of them have none."""
    without_outcome: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Auditor:
    """The auditor of a stack: which places it walks, and what is promised.

    `failed_records_bucket` and `quick_sight_results_bucket` are empty where a stack has none.
    """

    raw_bucket: str
    lake_bucket: str
    audit_bucket: str
    failed_records_bucket: str
    quick_sight_results_bucket: str
    images_table: str
    catalog_database: str
    catalog_table: str
    dead_letter_queue_url: str
    rejections_queue_url: str
    athena_work_group: str
    ingest_image_state_machine: str
    lake_name: str
    retention_days: int
    evidence_days: int

    def run(self, now: datetime) -> Audit:
        """Walk all places.

        Raises:
            ClientError: a store did not answer, or denied access.
        """
        result, seen = Audit(now, self.retention_days), _Seen()
        # Items last: what has an item by then, was erased or was cataloged meanwhile, is not missed elsewhere.
        _walk_bucket(result, seen, self.raw_bucket, ("raw",))
        _walk_bucket(result, seen, self.lake_bucket, ("derived", "catalog", "compaction"))
        for bucket, days in self._expiring().items():
            _walk_expiring(result, bucket, days)
        for bucket in (self.raw_bucket, self.lake_bucket, *self._expiring()):
            _walk_parts(result, bucket)
        _walk_partitions(result, seen, self)
        _read_rows(result, seen, self.lake_bucket)
        _walk_table(result, seen, self.images_table)
        _compare(result, seen)
        check_evidence(result, self.audit_bucket, self.evidence_days)
        check_configuration(result, self._settings())
        return result

    def _expiring(self) -> dict[str, int]:
        """The buckets that lifecycle alone empties, with its days."""
        days = {
            self.failed_records_bucket: FAILED_RECORDS_DAYS,
            self.quick_sight_results_bucket: CHART_RESULTS_DAYS,
        }
        return {bucket: kept for bucket, kept in days.items() if bucket}

    def _settings(self) -> Settings:
        days = self.retention_days
        buckets = (
            KeptBucket(self.raw_bucket, {"raw/": days}, has_versions=True),
            KeptBucket(self.lake_bucket, dict.fromkeys(("derived/", "catalog/", "compaction/"), days)),
            KeptBucket(self.audit_bucket, {"": self.evidence_days}, has_versions=True, is_locked=True),
            *(KeptBucket(bucket, {"": kept}) for bucket, kept in self._expiring().items()),
        )
        return Settings(
            buckets,
            self.images_table,
            self.dead_letter_queue_url,
            self.rejections_queue_url,
            self.athena_work_group,
            self.ingest_image_state_machine,
            self.lake_name,
        )


class _Hour(NamedTuple):
    """An hour of a root of a bucket, and what is true of all that is filed under it."""

    age: timedelta
    place: Place
    files: Counter[str]
    is_overdue: bool
    is_future: bool


def _walk_bucket(result: Audit, seen: _Seen, bucket: str, roots: tuple[str, ...]) -> None:
    limit, retention, as_of = result.retention + GRACE, result.retention, result.as_of
    for root in roots:
        result.place(root)
    known: dict[tuple[str, str, str], _Hour | None] = {}
    for entry, is_marker in _versions(bucket):
        key, age = entry["Key"], as_of - entry["LastModified"]
        root = key.partition("/")[0]
        match = LAYOUT[root].fullmatch(key) if root in roots else None
        hour = None
        if match is not None:
            name = (root, match[1], match[2])
            if name not in known:
                known[name] = _hour(result, seen, *name)
            hour = known[name]
        if match is None or hour is None:
            result.report("misplaced", bucket, "an object outside the layout", key)
            if age > limit:
                result.report("overdue", bucket, "an object outside the layout", key)
            continue
        place = hour.place
        place.objects += 1
        place.bytes += entry.get("Size", 0)
        if age > place.oldest:
            place.oldest = age
        if hour.is_future:
            result.report("misplaced", root, "an object dated in the future", key)
        if hour.is_overdue or (age > limit and (root == "raw" or hour.is_future)):
            what = "a delete marker" if is_marker else "an object" if entry["IsLatest"] else "a noncurrent version"
            result.report("overdue", root, what, key)
        elif is_marker and hour.age < retention:
            result.report("early", root, "an object hidden by a delete marker", key)
        elif root == "compaction" and age > FORSAKEN_COPY:
            result.report("incomplete", root, "a copy that compaction has left behind", key)
        if not is_marker and entry["IsLatest"] and REHEARSAL not in key:
            hour.files[match[3]] += not key.endswith(".json")  # what a task was told and answered is no derivative


def _hour(result: Audit, seen: _Seen, root: str, ingest_date: str, hour: str) -> _Hour | None:
    beginning = hour_of(ingest_date, hour)
    if beginning is None:
        return None
    place, age = result.place(root), result.as_of - beginning
    # What is made from an image, or late again, is younger than the image: its hour counts, not its own age.
    place.oldest = max(place.oldest, age)
    if root in ("catalog", "compaction"):
        seen.catalog.add(beginning)
        files = Counter[str]()  # their keys name no image
    else:
        files = (seen.raw if root == "raw" else seen.derived)[beginning]
    return _Hour(age, place, files, age > result.retention + GRACE, is_future=-age > CLOCK_SKEW)


def _versions(bucket: str) -> Iterator[tuple[Any, bool]]:
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            yield version, False
        for marker in page.get("DeleteMarkers", []):
            yield marker, True


def _walk_expiring(result: Audit, bucket: str, days: int) -> None:
    """A bucket without hours, which lifecycle empties."""
    place, limit = result.place(bucket), timedelta(days=days) + LIFECYCLE_TRAILS
    for entry, _ in _versions(bucket):
        age = result.as_of - entry["LastModified"]
        place.objects += 1
        place.bytes += entry.get("Size", 0)
        place.oldest = max(place.oldest, age)
        if age > limit:
            result.report("overdue", bucket, "an object", entry["Key"])


def _walk_parts(result: Audit, bucket: str) -> None:
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            if result.as_of - upload["Initiated"] > FORGOTTEN_UPLOAD + GRACE:
                result.report("overdue", bucket, "an unfinished multipart upload", upload["Key"])


def _walk_partitions(result: Audit, seen: _Seen, stack: Auditor) -> None:
    place = result.place("partitions")
    glue: GlueClient = client("glue")
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName=stack.catalog_database, TableName=stack.catalog_table, ExcludeColumnSchema=True
    )
    for partition in (partition for page in pages for partition in page["Partitions"]):
        values = partition["Values"]
        name = "/".join(values)
        place.objects += 1
        hour = hour_of(*values) if len(values) == len(("ingest_date", "hour")) else None
        if hour is None:
            result.report("misplaced", "partitions", "a partition that is no hour", name)
            continue
        place.oldest = max(place.oldest, result.as_of - hour)
        if hour - result.as_of > CLOCK_SKEW:
            result.report("misplaced", "partitions", "a partition dated in the future", name)
        if result.as_of - hour > result.retention + GRACE:
            result.report("overdue", "partitions", "a partition", name)
        location = partition.get("StorageDescriptor", {}).get("Location", "").rstrip("/") + "/"
        prefix = location.removeprefix(f"s3://{stack.lake_bucket}/")
        if not prefix.startswith((f"catalog/{path_of(hour)}/", f"compaction/{path_of(hour)}/")):
            result.report("misplaced", "partitions", "a partition whose files are elsewhere", name)
        else:
            seen.partitions[hour] = prefix
    for hour in sorted(seen.partitions.keys() - seen.catalog):
        result.report("incomplete", "partitions", "a partition without data", name_of(hour))
    for hour in sorted(seen.catalog - seen.partitions.keys()):
        if result.as_of - hour > SETTLED_HOUR:
            result.report("incomplete", "catalog", "data without a partition", name_of(hour))


def _read_rows(result: Audit, seen: _Seen, bucket: str) -> None:
    settled = {
        hour: seen.partitions.get(hour, rows.prefix_of(hour))
        for hour in sorted(seen.catalog)
        if _has_rows(result, hour)
    }
    seen.rows = rows.found_by_queries(result, bucket, settled)


def _has_rows(result: Audit, hour: datetime) -> bool:
    """Whether every image of an hour has its row by now, and may not have lost it."""
    return SETTLED_HOUR < result.as_of - hour < result.retention + timedelta(hours=1)


def _walk_table(result: Audit, seen: _Seen, table: str) -> None:
    result.place("items")
    for item in _items(table):
        image_id = str(item["image_id"].get("S"))
        seen.with_items.add(image_id)
        try:
            _check_item(result, seen, image_id, item)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            result.report("misplaced", "items", "an item that is malformed", image_id)


def _items(table: str) -> Iterator[dict[str, Any]]:
    dynamodb: DynamoDBClient = client("dynamodb")
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression="image_id, #status, received_at, expires_at, expiry_shard, ingest_date, #hour, "
        "processed_at, derivatives, unsettled_since, reported_at, erased_at, returned_at",
        ExpressionAttributeNames={"#status": "status", "#hour": "hour"},
    )
    for page in pages:
        yield from page["Items"]


def _check_item(result: Audit, seen: _Seen, image_id: str, item: dict[str, Any]) -> None:
    """Check one item.

    Raises:
        ArithmeticError, AttributeError, KeyError, TypeError, ValueError: an attribute is missing or malformed.
    """
    place = result.places["items"]
    place.objects += 1
    status = item["status"]["S"]
    _check_expiry(result, image_id, status, item)
    hour = hour_of(item["ingest_date"]["S"], item["hour"]["S"])
    if hour is None:
        raise ValueError(item["hour"])
    if hour - result.as_of > CLOCK_SKEW:
        result.report("misplaced", "items", "an item dated in the future", image_id)
    if status == "erased":
        _check_erased(result, seen, image_id, item)
        return
    age = result.as_of - datetime.fromisoformat(item["received_at"]["S"])
    place.oldest = max(place.oldest, age)
    if status not in OUTCOMES:
        seen.without_outcome.add(image_id)
        return
    if "unsettled_since" in item and result.as_of - _moment(item, "unsettled_since") > SETTLED_HOUR:
        result.report("incomplete", "items", "an outcome that nobody was told of", image_id)
    changed = max(_moment(item, name) for name in _CHANGED if name in item)
    # What changes while the audit walks is in some places before it looks there, and in others after.
    if age >= result.retention or result.as_of - changed < SETTLED:
        return
    if image_id not in seen.raw[hour]:
        result.report("early", "raw", "an image without its file", image_id)
    if seen.derived[hour][image_id] < len(item.get("derivatives", {}).get("L", ())):
        result.report("early", "derived", "an image without its derivatives", image_id)
    if _has_rows(result, hour):
        found = seen.rows.get(hour, {})
        seen.with_outcome[hour] += 1
        if found is not None and status not in found.get(image_id, ()):
            seen.without_row[hour] += 1
            result.report("early", "catalog", "an image without a row", image_id)


_CHANGED: Final = ("received_at", "processed_at", "unsettled_since", "reported_at")
"""When something changed for an image with an outcome."""


def _moment(item: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(item[name]["S"])


def _check_expiry(result: Audit, image_id: str, status: str, item: dict[str, Any]) -> None:
    if "expires_at" not in item or item.get("expiry_shard", {}).get("S") not in tuple("0123456789abcdef"):
        result.report("misplaced", "items", "an item that never expires", image_id)
        return
    expires_at = float(item["expires_at"]["N"])
    kept_since = min(_moment(item, "received_at"), result.as_of) if status in OUTCOMES else result.as_of
    if result.as_of.timestamp() - expires_at > GRACE.total_seconds():
        result.report("overdue", "items", f"an item ({status})", image_id)
    elif expires_at > (kept_since + result.retention + GRACE).timestamp():
        result.report("misplaced", "items", "an item that expires too late", image_id)


def _check_erased(result: Audit, seen: _Seen, image_id: str, item: dict[str, Any]) -> None:
    erased_at = item.get("returned_at", item["erased_at"])["S"]
    if result.as_of - datetime.fromisoformat(erased_at) < SETTLED:
        return
    for place, there in (("raw", seen.raw), ("derived", seen.derived), ("catalog", seen.rows)):
        if any(image_id in (found or ()) for found in there.values()):
            result.report("overdue", place, "an image that was erased on request", image_id)


def _compare(result: Audit, seen: _Seen) -> None:
    """What has no item, or an item without an outcome."""
    for hour, files in seen.raw.items():
        # A record that Kafka delivered again has its item where it came first, up to a day earlier.
        if SETTLED_HOUR < result.as_of - hour < result.retention - timedelta(days=1):
            result.report_all("early", "items", "an image without an item", files.keys() - seen.with_items)
        if SETTLED_HOUR < result.as_of - hour < result.retention:
            waiting = files.keys() & seen.without_outcome
            result.report_all("incomplete", "items", "an image without an outcome", waiting)
    for hour, missing in sorted(seen.without_row.items()):
        lacks = f"{name_of(hour)}: {missing} of {seen.with_outcome[hour]} images"
        result.report("incomplete", "catalog", "an hour with fewer rows than images", lacks)
    _report_orphans(result, seen, "derived", "a derivative of no image", seen.derived)
    readable = {hour: found for hour, found in seen.rows.items() if found is not None}
    _report_orphans(result, seen, "catalog", "a row of no image", readable)


def _report_orphans(
    result: Audit, seen: _Seen, place: str, what: str, there: Mapping[datetime, Mapping[str, object]]
) -> None:
    for hour, images in there.items():
        if SETTLED_HOUR < result.as_of - hour < result.retention:
            result.report_all("misplaced", place, what, images.keys() - seen.with_items - seen.raw[hour].keys())
