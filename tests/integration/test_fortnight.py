"""A fortnight in a minute: images by the minute through both doors, and all that goes wrong on their way.

The stores are stand-ins that keep a clock of ours; what writes, purges, erases, reconciles and audits is the real code,
but for the scripts and the Parquet format, which would take most of the time and none of the decisions.
"""

import inspect
import itertools
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from boto3.dynamodb.types import TypeDeserializer

from functions.write_catalog import app as write_catalog
from functions.write_catalog.app import CatalogWriting
from imagelake import emission
from imagelake.audit import rows
from imagelake.audit.auditor import Auditor
from imagelake.audit.findings import Audit
from imagelake.catalog import parquet
from imagelake.engine import runner, transfer, work
from imagelake.engine.json_value import Json
from imagelake.errors import Rejection
from imagelake.ingest.kept_records import KeptRecords
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival, AwaitedUpload, ImageRecord
from imagelake.process import closing, opening
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.process.opening import ObjectCreated, Opening
from imagelake.process.ordering import Ordering
from imagelake.process.reconciliation import Reconciliation
from imagelake.retention import erasure
from imagelake.retention.erasure import Erasure
from imagelake.retention.purge import Purge
from imagelake.stores import images_table, ingest_workflow
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.event_bus import EventBus
from imagelake.stores.functions import Function
from imagelake.stores.images_table import ImagesTable
from imagelake.stores.ingest_workflow import IngestWorkflow
from imagelake.values import to_iso
from tests.integration.fakes import Clock, FakeGlue, FakeQueue, FakeS3, FakeTable
from tests.integration.presigned import PresignedS3
from tests.integration.stand_ins import ERASE_IMAGE, StartedErasures, install

DAYS: Final = 7
PROMISE: Final = timedelta(days=DAYS)
GRACE: Final = timedelta(hours=2)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BEGINNING: Final = datetime(2026, 11, 1, tzinfo=UTC)

ENFORCE = Purge(
    Bucket("raw"),
    Bucket("audit"),
    ImagesTable("images"),
    EventBus("bus"),
    CatalogTable("db", "images", Bucket("lake")),
    DAYS,
)
AUDIT = Auditor(
    raw_bucket="raw",
    lake_bucket="lake",
    audit_bucket="audit",
    failed_records_bucket="",
    quick_sight_results_bucket="",
    images_table="images",
    catalog_database="db",
    catalog_table="images",
    dead_letter_queue_url="queue",
    rejections_queue_url="rejections",
    athena_work_group="analysts",
    ingest_image_state_machine="workflow",
    lake_name="lake",
    retention_days=DAYS,
    evidence_days=2557,
)
ERASE = Erasure(
    Bucket("raw"),
    Bucket("lake"),
    Bucket("audit"),
    ImagesTable("images"),
    EventBus("bus"),
    KeptRecords(Bucket(""), ""),
    DAYS,
)
RECONCILE = Reconciliation(
    Bucket("raw"), ImagesTable("images"), DeadLetterQueue("queue"), IngestWorkflow("workflow"), DAYS
)
ORDERING = Ordering(Bucket("lake"), accept_heif=False, large_images=False)
OPEN = Opening(Bucket("raw"), ImagesTable("images"), DAYS, ORDERING)
CLOSE = Closing(Bucket("lake"))
CATALOG = CatalogWriting(CatalogTable("db", "images", Bucket("lake")), Function(ERASE_IMAGE), DeadLetterQueue("queue"))
OPERATOR = erasure.Caller("operator", is_operator=True)


@dataclass
class Truth:
    """What really happened to one object in the raw bucket: the first time its bytes arrived, and what became of it."""

    key: RawKey
    version_id: str
    arrived: datetime
    outcome: str | None = None
    settled: datetime | None = None
    last_put: datetime | None = None


@dataclass
class Lake:
    """The lake, with time and all that happens in its own hands."""

    clock: Clock
    chance: random.Random
    s3: FakeS3
    table: FakeTable
    glue: FakeGlue
    queue: FakeQueue
    step_functions: "FakeWorkflow"
    erasures: StartedErasures
    truths: dict[str, Truth] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    later: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)
    _written: int = 0
    _batches: int = 0
    _numbers: int = 0
    _files: dict[str, "CatalogFile"] = field(default_factory=dict)

    # Doors

    def upload(self) -> None:
        """A form is granted now; its file comes within the quarter of an hour, or never."""
        now = self.clock.now
        upload = AwaitedUpload(
            image_id=str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            uploader=f"user-{self.chance.randrange(9)}",
            received_at=now,
            expires_at=now + timedelta(days=1),
            content_type="image/jpeg",
            **_hour(ArrivalHour.of(now)),
        )
        ImagesTable("images").expect_uploads([upload])
        if self.chance.random() < 0.97:
            key = RawKey.parse(upload.raw_key)
            self.at(now + timedelta(minutes=self.chance.triangular(0, 19.5, 0)), lambda: self.arrive(key))

    def consume(self) -> None:
        """A record of the Kafka topic is delivered, within the quarter of an hour of its timestamp."""
        hour = ArrivalHour.of(self.clock.now - timedelta(minutes=self.chance.triangular(0, 15, 0)))
        key = RawKey(hour, str(uuid.UUID(int=self.chance.getrandbits(128), version=5)))
        self.arrive(key)
        if self.chance.random() < 0.02:  # delivered again, so late that it is filed under another hour
            self.after(self.chance.uniform(1, 20) * HOUR, lambda: self.redeliver(key))

    def redeliver(self, key: RawKey) -> None:
        """The same record again: the same image in the hour of now."""
        self.arrive(RawKey(ArrivalHour.of(self.clock.now), key.image_id))

    def arrive(self, key: RawKey) -> None:
        """An object is put, and its event delivered: late, twice or never."""
        metadata = Arrival(source="api", uploader="somebody").to_metadata()
        body = b"bad" if self.chance.random() < 0.05 else b"good"
        version_id = self.s3.put_object("raw", str(key), body, ContentType="image/jpeg", Metadata=metadata)["VersionId"]
        self.truths.setdefault(str(key), Truth(key, version_id, self.clock.now)).last_put = self.clock.now
        if self.chance.random() < 0.98:
            self.after(timedelta(seconds=self.chance.uniform(1, 30)), lambda: self.workflow(key))
        if self.chance.random() < 0.03:
            self.after(timedelta(minutes=self.chance.uniform(1, 300)), lambda: self.workflow(key))

    def redrive(self, key: RawKey) -> None:
        """An operator copies an object onto itself, days later."""
        if current := self.s3.bucket("raw").current(str(key)):
            self.s3.put_object("raw", str(key), current.body, **current.headers)
            self.after(MINUTE, lambda: self.workflow(key))

    # The workflow, as statemachine/ingest_image.asl.json has it

    def workflow(self, key: RawKey) -> None:
        """Process and catalog one image."""
        if self.chance.random() < 0.02:
            self._record_failure(key)
            return
        opened, _ = OPEN.open(ObjectCreated(key=str(key)))
        if opened.decision == "erased":
            self._move_tombstone(key)
        if opened.order is None or opened.facts is None:
            return
        answer = work.carry_out(opened.order, 30).model_dump(mode="json")
        closed, believed = CLOSE.close(EngineAnswered(facts=opened.facts, answer=answer))
        assert believed
        self.table.put_item({name: TypeDeserializer().deserialize(value) for name, value in closed.item.items()})
        self._settle(key, closed.outcome)

    def _move_tombstone(self, key: RawKey) -> None:
        standing = self.table.items.get(key.image_id)
        if standing is not None and standing["status"] == "erased":
            now = to_iso(self.clock.now)
            self.table.put_item(standing | _hour(key.hour) | {"returned_at": now, "unsettled_since": now})

    def _record_failure(self, key: RawKey) -> None:
        standing = self.table.items.get(key.image_id)
        if standing is None or standing["status"] == "awaiting_upload":
            arrived = key.hour.arrival(self.clock.now)
            failed = ImageRecord(
                image_id=key.image_id,
                status="failed",
                received_at=arrived,
                expires_at=arrived + PROMISE,
                reason="fault: of the simulation",
                **_hour(key.hour),
            )
            self.table.put_item((standing or {}) | failed.to_item())
            self._settle(key, "failed")
            self.after(self.chance.uniform(0.1, 7.2) * timedelta(days=1), lambda: self.redrive(key))
        else:
            self._move_tombstone(key)

    def _settle(self, key: RawKey, outcome: str) -> None:
        if truth := self.truths.get(str(key)):
            truth.outcome, truth.settled = outcome, self.clock.now
        if self.chance.random() < 0.004:
            self.after(self.chance.choice([0.01, 1, 100]) * HOUR, lambda: self.erase(key))

    # What the schedule calls

    def deliver_stream(self) -> None:
        """The batch of the stream that has gathered, to the writer of the catalog, and what that starts."""
        batch, self.table.stream = self.table.stream[:], []
        wanted = [item for item in batch if item["status"] != "awaiting_upload"]
        if not wanted:
            return
        records = []
        for item in wanted:
            self._numbers += 1
            images = images_table.serialize(json.loads(json.dumps(item, default=int)))
            change = {
                "Keys": {"image_id": images["image_id"]},
                "NewImage": images,
                "SequenceNumber": f"{self._numbers:021d}",
                "SizeBytes": 100,
                "StreamViewType": "NEW_IMAGE",
            }
            records.append(
                {
                    "eventID": str(self._numbers),
                    "eventName": "MODIFY",
                    "eventVersion": "1.1",
                    "eventSource": "aws:dynamodb",
                    "awsRegion": "us-east-1",
                    "eventSourceARN": "stream",
                    "dynamodb": change,
                }
            )
        attempts = 2 if self.chance.random() < 0.05 else 1
        for _ in range(attempts):
            emission.emits(inspect.unwrap(write_catalog.handler))({"Records": records}, None)  # no log of it
        for image_id in self.erasures.take():
            if tombstone := ERASE.tombstone(image_id):
                ERASE.erase(tombstone, self.clock.now)

    def erase(self, key: RawKey) -> None:
        """An operator erases an image; a redelivery may follow."""
        tombstone = ERASE.bury(key.image_id, OPERATOR, self.clock.now)
        if tombstone is None:
            return
        self.erased.add(key.image_id)
        ERASE.erase(tombstone, self.clock.now)
        if self.chance.random() < 0.5:
            self.after(self.chance.uniform(0, 10) * HOUR, lambda: self.redeliver(key))
        if self.chance.random() < 0.5:
            self.after(timedelta(minutes=1), lambda: self.workflow(key))

    def purge(self) -> None:
        """One run of the purge."""
        for due in ENFORCE.find_work(self.clock.now):
            ENFORCE.run(due, self.clock.now, 60)

    # Time

    def at(self, moment: datetime, what: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self._numbers += 1
        self.later.append((moment, self._numbers, what))

    def after(self, span: timedelta, what: Callable[[], None]) -> None:
        """Let something happen after a time."""
        self.at(self.clock.now + span, what)

    def pass_minute(self) -> None:
        """Let a minute pass, with all that was to happen in it."""
        until = self.clock.now + MINUTE
        while due := sorted((one for one in self.later if one[0] <= until), key=lambda one: one[:2]):
            self.later = [one for one in self.later if one[0] > until]
            for moment, _, what in due:
                self.clock.now = max(self.clock.now, moment)
                what()
        self.clock.now = until

    # What there is

    def files(self) -> dict[str, "CatalogFile"]:
        """The files of the catalog by key; reads those only that are new."""
        bucket = self.s3.bucket("lake")
        current = {key: bucket.versions[key][0] for key in bucket.under("catalog/")}
        known = {key: file for key, file in self._files.items() if current.get(key) is file.version}
        self._files = known | {
            key: CatalogFile(version, [json.loads(line) for line in version.body.splitlines()])
            for key, version in current.items()
            if key not in known
        }
        return self._files


@dataclass(frozen=True)
class CatalogFile:
    """A file of the catalog as it was read: which images it has, and when the first of them arrived."""

    version: object
    rows: InitVar[list[dict[str, Any]]]
    image_ids: frozenset[str] = field(init=False)
    oldest: str = field(init=False)

    def __post_init__(self, rows: list[dict[str, Any]]) -> None:
        object.__setattr__(self, "image_ids", frozenset(row["image_id"] for row in rows))
        object.__setattr__(self, "oldest", min((row["received_at"] for row in rows), default="9"))


class FakeWorkflow:
    """A client of Step Functions whose executions run a moment later."""

    def __init__(self) -> None:
        self.lake: Lake | None = None

    def start_execution(self, stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG002, N803
        """Run the workflow for the object that the input names."""
        assert self.lake is not None
        lake, key = self.lake, RawKey.parse(json.loads(input)["detail"]["object"]["key"])
        lake.after(timedelta(seconds=5), lambda: lake.workflow(key))


def _hour(partition: ArrivalHour) -> dict[str, str]:
    return {"ingest_date": partition.ingest_date, "hour": partition.hour}


def _to_lines(records: Any) -> bytes:
    return "\n".join(json.dumps(record.to_row()) for record in records).encode()


def _without_lines(content: bytes, image_ids: Any) -> tuple[bytes, int]:
    rows = content.splitlines()
    kept = [row for row in rows if json.loads(row)["image_id"] not in image_ids]
    return b"\n".join(kept), len(rows) - len(kept)


HEADER: Final[dict[str, Json]] = {
    "format": "JPEG",
    "width": 1,
    "height": 1,
    "mode": "RGB",
    "frames": 1,
    "orientation": 1,
}
SCRIPTS: Final = tuple(runner.Script(name, "0" * 12, Path()) for name in ("describe", "thumbnails"))


def _rows_in(file: Path) -> list[tuple[str, str]]:
    rows = map(json.loads, file.read_bytes().splitlines())
    return [(row["image_id"], row["status"]) for row in rows]


def _run_scripts(content: bytes, *_: Any) -> runner.ScriptResult:
    if content == b"bad":
        raise Rejection("not_an_image", "of the simulation")
    made = runner.EncodedDerivative("thumb_256", "jpg", "image/jpeg", 1, 1, b"derivative")
    return runner.ScriptResult(HEADER, {}, (made,), 0.1, 1.0)


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch, erasures: StartedErasures) -> Lake:
    stores = install(monkeypatch, BEGINNING)
    workflow = FakeWorkflow()
    chance = random.Random(5)  # noqa: S311  # a simulation, no secret
    made = Lake(stores.clock, chance, stores.s3, stores.table, stores.glue, stores.queue, workflow, erasures)
    workflow.lake = made
    monkeypatch.setattr(ingest_workflow, "_step_functions", lambda: workflow)
    monkeypatch.setattr(runner, "find_scripts", lambda _names: SCRIPTS)
    presigned = PresignedS3(lambda: stores.s3, lambda: stores.clock.now)
    monkeypatch.setattr(transfer, "_pool", lambda: presigned)
    monkeypatch.setattr(runner, "run_scripts", _run_scripts)
    monkeypatch.setattr(parquet, "to_parquet", _to_lines)
    monkeypatch.setattr(parquet, "without_rows", _without_lines)
    monkeypatch.setattr(parquet, "having_rows", lambda files, _image_ids: files)
    monkeypatch.setattr(rows, "rows_in", _rows_in)
    monkeypatch.setattr(write_catalog, "load", lambda _settings: CATALOG)
    for module in (opening, closing, write_catalog):
        monkeypatch.setattr(module, "datetime", stores.clock.patched())
    return made


class Broken(Exception):  # noqa: N818  # what a crash looks like from inside
    """The purger's process ends."""


def _check(lake: Lake, *, is_outage: bool) -> None:
    """Nothing younger than the promise is gone; nothing older than the promise and its grace is there."""
    now = lake.clock.now
    files = lake.files()
    image_ids = frozenset[str]().union(*(file.image_ids for file in files.values()))
    if not is_outage:
        _check_nothing_is_overdue(lake, files, now - PROMISE - GRACE)
    _check_nothing_is_gone(lake, image_ids, now)
    _check_erased_stay_away(lake, image_ids, now)


def _check_nothing_is_overdue(lake: Lake, files: dict[str, CatalogFile], oldest: datetime) -> None:
    raw, derived = lake.s3.bucket("raw"), lake.s3.bucket("lake")
    # Keys sort by hour, and nothing arrives before its hour.
    for key in itertools.takewhile(lambda key: _start(key) <= oldest, raw.under("raw/")):
        assert lake.truths[key].arrived >= oldest, key
    for key in itertools.takewhile(lambda key: _start(key) <= oldest, derived.under("derived/")):
        raw_key = f"raw/{'/'.join(key.split('/')[1:4])}"
        assert lake.truths[raw_key].arrived >= oldest, key
    assert min((file.oldest for file in files.values()), default="9") >= to_iso(oldest)
    for item in lake.table.items.values():
        assert item["expires_at"] >= (lake.clock.now - GRACE).timestamp()
        if item["status"] not in ("awaiting_upload", "erased"):
            assert item["received_at"] >= to_iso(oldest)
    for partition in lake.glue.partitions:
        assert ArrivalHour(*partition).start >= oldest
    for uploads in lake.s3.uploads.values():
        assert all(upload["Initiated"] >= lake.clock.now - timedelta(days=1) - GRACE for upload in uploads)


def _check_nothing_is_gone(lake: Lake, image_ids: frozenset[str], now: datetime) -> None:
    young = {
        name: truth
        for name, truth in lake.truths.items()
        if truth.arrived > now - PROMISE and truth.key.image_id not in lake.erased
    }
    assert young.keys() <= lake.s3.bucket("raw").versions.keys()
    settled = {
        truth.key.image_id: truth for truth in young.values() if truth.settled and truth.settled < now - 10 * MINUTE
    }
    assert settled.keys() <= lake.table.items.keys()
    assert settled.keys() <= image_ids
    assert {
        ImageVersion(truth.key, truth.version_id).derived("thumb_256", "jpg")
        for truth in settled.values()
        if truth.outcome == "processed"
    } <= lake.s3.bucket("lake").versions.keys()


def _check_erased_stay_away(lake: Lake, image_ids: frozenset[str], now: datetime) -> None:
    # An event of the return that got lost is found within the hour.
    for truth in lake.truths.values():
        if truth.key.image_id in lake.erased and truth.last_put and truth.last_put < now - 2 * HOUR:
            assert str(truth.key) not in lake.s3.bucket("raw").versions
            assert truth.key.image_id not in image_ids
            assert not list(lake.s3.bucket("lake").under(truth.key.derived_prefix))


def _start(key: str) -> datetime:
    return datetime.fromisoformat(f"{key.split('=')[1][:10]}T{key.split('=')[2][:2]}:00:00+00:00")


def _forget(lake: Lake) -> None:
    """What is long gone need not be looked at again."""
    horizon = lake.clock.now - PROMISE - timedelta(days=1)
    lake.truths = {name: truth for name, truth in lake.truths.items() if truth.arrived > horizon}


def test_a_fortnight_keeps_the_promise(lake: Lake) -> None:
    down_from, down_until = BEGINNING + timedelta(days=9, hours=5), BEGINNING + timedelta(days=9, hours=11)
    crashes_at = BEGINNING + timedelta(days=11, hours=3, minutes=25)

    for minute in range(14 * 24 * 60):
        lake.upload() if minute % 2 else lake.consume()
        if minute % 997 == 0:
            lake.s3.begin_upload("raw", "raw/forgotten")
        lake.pass_minute()
        now = lake.clock.now
        if minute % 5 == 0:
            lake.deliver_stream()
        if now.minute in (25, 40) and not down_from <= now < down_until:
            if now == crashes_at:
                _crash(lake)
            else:
                lake.purge()
        if now.minute == 50:
            RECONCILE.run(now)
        if now.minute == 0:
            _check(lake, is_outage=down_from <= now <= down_until + HOUR)
            if now.hour == 0:
                _forget(lake)
        if (now.hour, now.minute) == (5, 55) or now == down_until + 2 * HOUR:
            lake.audits.append(AUDIT.run(now))

    assert lake.s3.calls["PutObject"] > 14 * 24 * 60
    assert lake.queue.sent == []
    for made in lake.audits:
        surprises = [one for one in made.findings.values() if one.kind not in ("late", "incomplete", "overdue")]
        assert surprises == []
        overdue = [one for one in made.findings.values() if one.kind == "overdue"]
        late = [one for one in made.findings.values() if one.kind == "late"]
        # The purger was down from 5 to 11: at 5:55 nothing is overdue yet, and after it the receipts tell of it.
        assert overdue == []
        assert bool(late) == (down_until <= made.as_of <= down_until + timedelta(days=2))
    interrupted = [
        finding for made in lake.audits for finding in made.findings.values() if "interrupted" in finding.what
    ]
    assert interrupted
    assert any("interrupted" not in finding.what for made in lake.audits for finding in made.findings.values())


def _crash(lake: Lake) -> None:
    """A run that ends with its process half-way through its deletions: it says nothing more."""
    dead = False

    def fail(operation: str) -> None:
        nonlocal dead
        dead = dead or operation == "DeleteObjects"
        if dead:
            raise Broken

    lake.s3.before = fail
    with pytest.raises(Broken):
        lake.purge()
    lake.s3.before = lambda _operation: None
