"""A lake whose parts may die at any moment, on stores in process and a clock of ours; its parts are the real ones."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from boto3.dynamodb.types import TypeDeserializer
from time_machine import Traveller

from functions.compact_catalog.app import handler as compact_catalog
from functions.enforce_retention.app import handler as enforce_retention
from functions.erase_image.app import handler as erase_image
from functions.http_api.app import handler as http_api
from functions.publish_outcomes.app import handler as publish_outcomes
from functions.rebuild_catalog.app import handler as rebuild_catalog
from functions.reconcile.app import handler as reconcile
from functions.redrive_images.app import handler as redrive_images
from functions.write_catalog.app import handler as write_catalog
from imagelake.errors import ImageLakeError
from imagelake.keys import ArrivalHour, RawKey
from imagelake.retention.receipts import AnotherRun
from imagelake.stores import buckets, catalog_table, dead_letters, event_bus, images_table, ingest_workflow
from local.samples import make_samples
from tests.application import TEMPLATE, as_caller, event, logical_id
from tests.duckdb_catalog import catalog_over, parquet_under
from tests.integration.call_faults import AnsweringClient, CallFault, CallFaults
from tests.integration.conftest import (
    CALLER,
    DATABASE,
    IMAGES_TABLE,
    LAKE_BUCKET,
    QUEUE_URL,
    RAW_BUCKET,
    REJECTIONS_URL,
    TABLE,
    Context,
    client,
    created,
    events_put,
    stream_of,
)
from tests.integration.presigned import PresignedS3
from tests.integration.stand_ins import StartedErasures
from tests.workflow import Workflow

SAMPLES: Final = {sample.filename: sample for sample in make_samples()}
KINDS: Final = {"good": SAMPLES["icon.bmp"], "bad": SAMPLES["notes.jpg"]}
EVENTS: Final = {"processed": "ImageProcessed", "rejected": "ImageRejected", "failed": "ImageFailed"}
RIGHT: Final = {"good": "processed", "bad": "rejected"}
BEGINNING: Final = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DAYS: Final = timedelta(days=7)
STORES: Final = {RAW_BUCKET: ("raw",), LAKE_BUCKET: ("derived", "catalog", "compaction")}


@dataclass(frozen=True)
class Sent:
    """An image that was accepted."""

    key: RawKey
    kind: str
    arrived: datetime


class Lake:
    """The lake, what happens in it, and what has to be true of it."""

    def __init__(
        self,
        clock: Traveller,
        workflow: Workflow,
        presigned: PresignedS3,
        tell: Callable[[str], Context],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.clock, self.presigned, self.tell = clock, presigned, tell
        self.images: dict[str, Sent] = {}
        self.erased: set[str] = set()
        self.outcomes: dict[str, list[str]] = defaultdict(list)
        self.letters: dict[str, set[str]] = defaultdict(set)
        self.waiting: set[str] = set()
        """Images with a message in the dead-letter queue that no operator has seen to yet."""
        self.redriven: set[str] = set()
        self.rejections: set[str] = set()
        self.told: dict[str, set[str]] = defaultdict(set)
        self.has_bug = self.has_fault = self.is_crowded = self.lost_rows = False
        self.pending: list[tuple[datetime, dict[str, Any]]] = []
        self._batch: list[tuple[datetime, dict[str, Any]]] = []
        self._batch_number = 1
        self._is_reading = False
        self.erasures = StartedErasures.installed(patch)
        self._iterator = _stream()
        self.call_faults = CallFaults(
            [
                *(
                    buckets.s3_client(),
                    images_table._dynamodb().meta.client,
                    catalog_table._glue(),
                    dead_letters._sqs(),
                    event_bus._events(),
                ),
                *(client("s3"), client("dynamodb"), client("sqs")),
            ]
        )
        real = workflow.functions
        functions = {
            **real,
            "open_image": lambda opened: self._crowd(real["open_image"], opened),
            "process_image": lambda order: self._bug(real["process_image"](order)),
            "close_image": lambda answered: self._fault(real["close_image"], answered),
        }
        self.workflow = Workflow(
            {name: self.call_faults.calling(function) for name, function in functions.items()},
            lambda service: AnsweringClient(client(service)),
        )
        patch.setattr(ingest_workflow, "_step_functions", lambda: _Starter(self))

    # What happens

    def upload(self, kind: str) -> str:
        """Somebody asks for a form, and sends an image with it; its event comes later, or never."""
        sample, asked = KINDS[kind], as_caller(event("http_api"), CALLER, "uploaders")
        asked["body"] = json.dumps({"content_type": sample.content_type})
        answered = http_api(asked, self.tell("http_api"))
        assert answered["statusCode"] == 201, answered
        form = json.loads(answered["body"])["upload"]
        file = {"file": ("image", sample.content, sample.content_type)}
        assert self.presigned.request("POST", form["url"], fields=form["fields"] | file).status == 204
        key = RawKey.parse(form["fields"]["key"])
        self.images[key.image_id] = Sent(key, kind, datetime.now(UTC))
        return key.image_id

    def put_again(self, image_id: str) -> None:
        """Somebody copies an object onto itself, or puts it back after it was erased."""
        sample, key = KINDS[self.images[image_id].kind], str(self.images[image_id].key)
        client("s3").put_object(Bucket=RAW_BUCKET, Key=key, Body=sample.content, ContentType=sample.content_type)

    def deliver(self, image_id: str, faults: Sequence[CallFault] = ()) -> None:
        """The event of an image comes, maybe not for the first time, and maybe while another is worked on."""
        self.clock.shift(timedelta(seconds=1))  # so that no two executions give the same item
        with self.call_faults.injected(faults):
            self.workflow.run(created(str(self.images[image_id].key)))
        self.look()

    def deploy(self, *, bug: bool, fault: bool) -> None:
        """Somebody deploys a script, or mends a permission."""
        self.has_bug, self.has_fault = bug, fault

    def wait(self, span: timedelta) -> None:
        """Time passes."""
        self.clock.shift(span)

    def reconcile(self, faults: Sequence[CallFault] = (), since: datetime | None = None) -> None:
        """The hourly look for what was lost."""
        with self.call_faults.injected(faults):
            reconcile({"since": since.isoformat()} if since else event("reconcile"), self.tell("reconcile"))
        self.look()

    def redrive(self, image_id: str, faults: Sequence[CallFault] = (), *, is_crowded: bool = False) -> None:
        """An operator asks for another try, and deletes the messages that were there once it has been started.

        Others may have taken all the room that Lambda has.
        """
        was_erased = image_id in self.erased
        self.clock.shift(timedelta(seconds=1))  # whoever redrives has read the message before
        self.look()
        self.is_crowded = is_crowded
        with self.call_faults.injected(faults):
            answer = redrive_images({"keys": [str(self.images[image_id].key)]}, self.tell("redrive_images"))
            result = answer["images"][0]["result"]
            assert result != "redriven" or not was_erased
            if result in ("redriven", "processed"):
                self.waiting.discard(image_id)
            if result == "redriven":
                self.redriven.add(image_id)
        self.is_crowded = False
        self.look()

    def erase(self, image_id: str, faults: Sequence[CallFault] = ()) -> None:
        """An operator erases an image; what nobody knows yet, or any more, cannot be."""
        sample = event("erase_image")
        sample["path"] = f"/images/{image_id}"
        as_caller(sample, "operator", "operators")
        with self.call_faults.injected(faults):
            answered = erase_image(sample, self.tell("erase_image"))
            assert faults or answered["statusCode"] in (202, 204, 404), answered
        if _item(image_id).get("status") == "erased":
            self.erased.add(image_id)
        self.look()

    def stream(self, many: int, *, is_answered: bool, faults: Sequence[CallFault] = ()) -> None:
        """The stream brings some of what changed; a batch that fails or is not answered comes again, as it was."""
        if self._is_reading:  # the stream of one item has one reader at a time
            return
        if not self._batch:
            self._batch, self.pending = self.pending[:many], self.pending[many:]
        if not self._batch:
            return
        self._is_reading = True
        is_done = False
        with self.call_faults.injected(faults):
            is_done = self._read(self._batch) and is_answered
        if is_done:
            self._batch_number += len(self._batch)
            self._batch = []
        self._is_reading = False
        self.look()

    def _read(self, batch: list[tuple[datetime, dict[str, Any]]]) -> bool:
        """Both readers get what their filters let pass of a batch; whether neither wants some of it again."""
        told = stream_of(*(item for _, item in batch), first=self._batch_number)
        for record, (moment, _) in zip(told["Records"], batch, strict=True):
            record["dynamodb"] |= {"ApproximateCreationDateTime": moment.timestamp()}
        try:
            write_catalog(told, self.tell("write_catalog"))
        finally:
            self._run_erasures()
        outcomes = [record for record in told["Records"] if _status(record) in _passing("publish_outcomes")]
        if not outcomes:
            return True
        answer = publish_outcomes({"Records": outcomes}, self.tell("publish_outcomes"))
        return not answer["batchItemFailures"]

    def _run_erasures(self) -> None:
        """Lambda invokes the function that erases once the one that starts it has ended; if it fails, twice more."""
        for image_id in self.erasures.take():
            for _ in range(3):
                with suppress(ImageLakeError):
                    erase_image({"image_id": image_id}, self.tell("erase_image"))
                    break

    def lose(self, which: int) -> None:
        """Somebody deletes a file of the catalog, and the partition of its hour with it, or not."""
        files = [key for key in _keys("catalog") + _keys("compaction") if key.endswith(".parquet")]
        if not files:
            return
        key = files[which % len(files)]
        client("s3").delete_object(Bucket=LAKE_BUCKET, Key=key)
        self.lost_rows = True
        if which % 2:
            values = [part.partition("=")[2] for part in key.split("/")[1:3]]
            with suppress(client("glue").exceptions.EntityNotFoundException):
                client("glue").delete_partition(DatabaseName=DATABASE, TableName=TABLE, PartitionValues=values)

    def rebuild(self, hour: ArrivalHour, faults: Sequence[CallFault] = ()) -> None:
        """An operator has an hour of the catalog rebuilt."""
        with self.call_faults.injected(faults):
            while not rebuild_catalog({"hour": hour.path}, self.tell("rebuild_catalog"))["finished"]:
                pass
        self.look()

    def compact(self, faults: Sequence[CallFault] = ()) -> None:
        """The hourly compaction."""
        with self.call_faults.injected(faults):
            compact_catalog(event("compact_catalog"), self.tell("compact_catalog"))
        self.look()

    def purge(self, faults: Sequence[CallFault] = ()) -> None:
        """The purge, as its workflow runs it: a piece of work that fails does not keep the others."""
        as_of, context = {"as_of": datetime.now(UTC).isoformat()}, self.tell("enforce_retention")
        work: list[dict[str, Any]] = []
        with self.call_faults.injected(faults):
            work = enforce_retention(as_of, context)["work"]
        for piece in work:
            with self.call_faults.injected(faults), suppress(AnotherRun):
                while not enforce_retention(as_of | {"work": piece}, context)["finished"]:
                    pass
        self.look()

    def look(self) -> None:
        """Read what the stream, the bus and the dead-letter queue have new."""
        answer = client("dynamodbstreams").get_records(ShardIterator=self._iterator)
        self._iterator = answer["NextShardIterator"]
        for record in answer["Records"]:
            item = _plain(record["dynamodb"].get("NewImage", {}))
            if item.get("status") in _passing("write_catalog"):
                self.pending.append((datetime.now(UTC), item))
                if not _is_erased(item) and not {"reported_at", "redriven_at"} & item.keys():
                    self.outcomes[item["image_id"]].append(item["status"])
        for letter in _letters(QUEUE_URL):
            self.letters[letter["image_id"]].add(letter["status"])
            self.waiting.add(letter["image_id"])
        self.rejections |= {letter["detail"]["image_id"] for letter in _letters(REJECTIONS_URL)}
        for told in events_put():
            self.told[told["detail"].get("image_id", told["detail"]["hour"])].add(told["detail-type"])

    # What is true

    def settle(self) -> None:
        """Faults stop, hours pass, operators redrive and rebuild what can be, and the stream brings all there is."""
        self.deploy(bug=False, fault=False)
        self._let_the_stream_come()
        self.wait(timedelta(hours=1))
        self.purge()
        self.reconcile()
        self.check_told()
        self.reconcile(since=datetime.now(UTC) - DAYS)
        for image_id, sent in sorted(self.images.items()):
            if _item(image_id).get("status") != RIGHT[sent.kind]:
                self.redrive(image_id)
        self.wait(timedelta(hours=2))
        self.reconcile(since=datetime.now(UTC) - DAYS)
        self._let_the_stream_come()
        for hour in sorted({sent.key.hour for sent in self.images.values()}):
            self.rebuild(hour)
        for _ in range(3):
            self.wait(timedelta(hours=1))
            self.compact()
        self._let_the_stream_come()
        self.purge()

    def let_a_week_pass(self) -> None:
        """The hour of the first image is due, and that of later ones is not."""
        first = min(sent.key.hour for sent in self.images.values())
        self.clock.move_to(max(datetime.now(UTC), first.closed_at + DAYS))
        self.purge()

    def _let_the_stream_come(self) -> None:
        while self._batch or self.pending:
            self.stream(20, is_answered=True)

    def check(self) -> None:
        """What holds of every image, once all is settled."""
        current, every = self.rows()
        stored = {key for bucket, roots in STORES.items() for root in roots for key in _versions(bucket, root)}
        for image_id, sent in self.images.items():
            kept = {key for key in stored if image_id in key}
            if image_id in self.erased:
                assert not kept
                assert image_id not in every
                assert _item(image_id).get("status", "erased") == "erased"
                assert "ImageErased" in self.told[image_id]
            elif sent.key.hour.closed_at + DAYS <= datetime.now(UTC):
                assert not kept
                assert image_id not in every
                assert not _item(image_id)
            elif sent.arrived + DAYS > datetime.now(UTC):
                self._check_kept(image_id, sent, current, every)
        assert not {key for key in stored if _hour_of(key).closed_at + DAYS <= datetime.now(UTC)}

    def check_told(self) -> None:
        """What holds once the faults are over and `reconcile` has run: nobody waits for what nobody is told of."""
        for image_id in self._kept():
            item = _item(image_id)
            if item.get("status") == "failed" or "redriven_at" in item:
                assert image_id in self.waiting, item
            if image_id in self.redriven:
                assert item.get("status") in EVENTS, item

    def _kept(self) -> list[str]:
        now = datetime.now(UTC)
        alive = [one for one, sent in self.images.items() if max(sent.arrived, sent.key.hour.closed_at) + DAYS > now]
        return [one for one in alive if one not in self.erased]

    def _check_kept(
        self, image_id: str, sent: Sent, current: dict[str, list[str]], every: dict[str, list[str]]
    ) -> None:
        item = _item(image_id)
        assert item["status"] == RIGHT[sent.kind]
        assert "unsettled_since" not in item
        assert current[image_id] == [item["status"]]
        assert ("failed" in self.outcomes[image_id]) <= ("failed" in self.letters[image_id])
        assert ("rejected" in self.outcomes[image_id]) == (image_id in self.rejections)
        assert {EVENTS[status] for status in self.outcomes[image_id]} == self.told[image_id]
        assert self.outcomes[image_id].count("processed") <= 1
        assert self.lost_rows or every[image_id] == sorted(self.outcomes[image_id]), self.outcomes[image_id]
        version = client("s3").get_object(Bucket=RAW_BUCKET, Key=str(sent.key), VersionId=item["version_id"])
        assert version["Body"].read() == KINDS[sent.kind].content
        for derivative in item.get("derivatives", ()):
            client("s3").head_object(Bucket=LAKE_BUCKET, Key=derivative["key"])

    def query(self) -> None:
        """Whoever asks, whenever, sees no row twice."""
        self.rows()

    @staticmethod
    def rows() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The status of the current row, and of all rows, by image, as a query finds them."""
        current, every = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        with tempfile.TemporaryDirectory() as folder:
            found = _found_by_queries()
            if not found:
                return current, every
            for hour, key in found:
                file = Path(folder, hour, Path(key).name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(client("s3").get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read())
            with catalog_over(parquet_under(folder)) as database:
                twice = database.sql(
                    "SELECT image_id, status, processed_at FROM images GROUP BY ALL HAVING count(*) > 1"
                ).fetchall()
                assert not twice
                for image_id, status in database.sql("SELECT image_id, status FROM current_images").fetchall():
                    current[image_id].append(status)
                rows = database.sql("SELECT image_id, status FROM images ORDER BY ALL").fetchall()
        for image_id, status in rows:
            every[image_id].append(status)
        return current, every

    # How

    def _bug(self, answer: dict[str, Any]) -> dict[str, Any]:
        if not self.has_bug or answer["status"] != "processed":
            return answer
        return {
            "status": "rejected",
            "script_version": answer["script_version"],
            "code": "script_error",
            "detail": "describe: ValueError in line 1",
        }

    def _crowd(self, function: Callable[[Any], Any], payload: Any) -> Any:
        if self.is_crowded:
            raise type("Lambda.TooManyRequestsException", (Exception,), {})("Rate Exceeded.")
        return function(payload)

    def _fault(self, function: Callable[[Any], Any], payload: Any) -> Any:
        self.wait(timedelta(seconds=1))  # no two outcomes have the same time
        if self.has_fault:
            raise RuntimeError("of the test")
        return function(payload)


class _Starter:
    """Runs the workflow at once where a function starts it."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def start_execution(self, stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG002, N803
        """Run one execution to its end."""
        self._lake.workflow.run(json.loads(input))


@cache
def _passing(function: str) -> set[str]:
    """The statuses of items that the filter of a function's stream lets pass."""
    [source] = TEMPLATE["Resources"][logical_id(function)]["Properties"]["Events"].values()
    [one] = source["Properties"]["FilterCriteria"]["Filters"]
    return set(json.loads(one["Pattern"])["dynamodb"]["NewImage"]["status"]["S"])


def _status(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["NewImage"]["status"]["S"])


def _is_erased(item: dict[str, Any]) -> bool:
    return bool(item["status"] == "erased")


def _plain(image: dict[str, Any]) -> dict[str, Any]:
    found = {name: TypeDeserializer().deserialize(value) for name, value in image.items()}
    return dict(json.loads(json.dumps(found, default=float)))


def _item(image_id: str) -> dict[str, Any]:
    return _plain(
        client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}}).get("Item", {})
    )


def _keys(root: str) -> list[str]:
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=f"{root}/").get("Contents", [])
    return [entry["Key"] for entry in listed]


def _versions(bucket: str, root: str) -> set[str]:
    listed = client("s3").list_object_versions(Bucket=bucket, Prefix=f"{root}/")
    return {entry["Key"] for entry in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))}


def _hour_of(key: str) -> ArrivalHour:
    return ArrivalHour.parse("/".join(key.split("/")[1:3]))


def _found_by_queries() -> list[tuple[str, str]]:
    """The files that Athena would read now: hour and key."""
    found = []
    for partition in client("glue").get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"]:
        hour = ArrivalHour(*partition["Values"]).path
        prefix = partition["StorageDescriptor"]["Location"].removeprefix(f"s3://{LAKE_BUCKET}/")
        listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=prefix).get("Contents", [])
        names = [entry["Key"] for entry in listed]
        found += [(hour, key) for key in names if not key.rpartition("/")[2].startswith("_")]
    return found


def _letters(queue: str) -> Iterator[dict[str, Any]]:
    """The messages in a queue, which are gone afterwards."""
    sqs = client("sqs")
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
        for message in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


def _stream() -> str:
    """Where the stream of the images table goes on from now."""
    specification = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    changed = client("dynamodb").update_table(TableName=IMAGES_TABLE, StreamSpecification=specification)
    streams, arn = client("dynamodbstreams"), changed["TableDescription"]["LatestStreamArn"]
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    answer = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="LATEST")
    return str(answer["ShardIterator"])
