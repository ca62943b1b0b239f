"""Images through upload, workflow, report, redrive, erasure and stream in any order, with deaths and lost answers.

A seed draws the order. The workflow, its functions and all others are the real ones, on stores in process. In the
end the faults stop: then every image has one outcome, the right one, one current row that says the same, and a
message if it was ever rejected or failed; what was erased is nowhere.
"""

import json
import random
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from moto.s3.models import s3_backends

from functions.erase_image.app import handler as erase_image
from functions.reconcile.app import handler as reconcile
from functions.redrive_images.app import handler as redrive_images
from functions.write_catalog.app import handler as write_catalog
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival
from imagelake.process import reconciliation
from imagelake.stores import images_table, ingest_workflow
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.images_table import ImagesTable
from local.samples import make_samples
from tests.application import event
from tests.duckdb_catalog import catalog_over, parquet_under
from tests.integration.conftest import (
    IMAGES_TABLE,
    LAKE_BUCKET,
    QUEUE_URL,
    RAW_BUCKET,
    Context,
    client,
    created,
    stream_of,
)
from tests.workflow import StateError, Workflow

SAMPLES = {sample.filename: sample for sample in make_samples()}
KINDS = {"good": SAMPLES["icon.bmp"], "bad": SAMPLES["notes.jpg"]}
ARRIVED = datetime.now(UTC) - timedelta(minutes=30)
HOUR = ArrivalHour.of(ARRIVED)
RECONCILE_CALLS = {"give_up": ImagesTable, "report": DeadLetterQueue, "close_report": ImagesTable}


SEEDS, STEPS = 20, 60
CALLS = [
    *("Process image", "Close image", "Catalog image", "Record failure", "Read item"),
    *("Report to dead-letter queue", "Close report"),
]
STATES = ["Open image", *CALLS, "Check outcome", "Check fault"]


class Died(BaseException):
    """A program ended without a word."""


class Lake:
    """A lake whose parts may die at any moment."""

    def __init__(
        self, chance: random.Random, workflow: Workflow, tell: Callable[[str], Context], patch: pytest.MonkeyPatch
    ) -> None:
        self.chance, self.tell, self.patch = chance, tell, patch
        self.kinds: dict[str, str] = {}
        self.erased: set[str] = set()
        self.outcomes: dict[str, list[str]] = defaultdict(list)
        self.letters: dict[str, set[str]] = defaultdict(set)
        self.has_bug = self.has_fault = False
        self.dies_at = self.loses_at = self.state = ""
        self.iterator = _stream()
        self.pending: list[dict[str, Any]] = []
        self.number = 1
        real = workflow.functions
        functions = {
            **real,
            "process_image": lambda order: self._bug(real["process_image"](order)),
            "close_image": lambda answered: self._fault(real["close_image"], answered),
        }
        self.running = Workflow(
            {name: self._losing(function) for name, function in functions.items()},
            lambda service: _Client(self, service),
            before=self._enter,
        )

    # What happens

    def step(self) -> None:
        """Something happens."""
        images, draw = sorted(self.kinds), self.chance.choice
        died, lost = draw(["", "", *STATES]), draw(["", "", *CALLS])
        if not images:
            self.arrive(draw(sorted(KINDS)))
            return
        image_id = draw(images)
        happens: list[tuple[int, Callable[[], object]]] = [
            (3, lambda: self.arrive(draw(sorted(KINDS)))),
            (1, lambda: self.arrive_again(image_id)),
            (6, lambda: self.deliver(image_id, died, lost)),
            (2, lambda: self.change(bug=draw([True, False]), fault=draw([True, False, False]))),
            (1, lambda: self.an_hour_passes(draw([*RECONCILE_CALLS, None]), is_done=draw([True, False]))),
            (2, lambda: self.redrive(image_id, died)),
            (1, lambda: self.erase(image_id)),
            (3, lambda: self.stream(self.chance.randint(1, 9), is_doubled=draw([True, False]))),
        ]
        (happened,) = self.chance.choices([one for _, one in happens], [weight for weight, _ in happens])
        happened()

    def arrive(self, kind: str) -> None:
        """An object is put; its event comes later, or never."""
        image_id = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        self.kinds[image_id] = kind
        self._put(image_id)

    def arrive_again(self, image_id: str) -> None:
        """The object is put once more; also after the image was erased."""
        self._put(image_id)

    def _put(self, image_id: str) -> None:
        key, kind = RawKey(HOUR, image_id), self.kinds[image_id]
        sample, metadata = KINDS[kind], Arrival(source="api", uploader="ada").to_metadata()
        client("s3").put_object(
            Bucket=RAW_BUCKET, Key=str(key), Body=sample.content, ContentType=sample.content_type, Metadata=metadata
        )
        (in_moto,) = (account["aws"] for account in s3_backends.values() if RAW_BUCKET in account["aws"].buckets)
        in_moto.buckets[RAW_BUCKET].keys[str(key)].last_modified = ARRIVED.replace(tzinfo=None)

    def deliver(self, image_id: str, dies_at: str, loses_at: str) -> None:
        """The event of an image comes, maybe not for the first time; the execution may die, an answer get lost."""
        self._run(created(str(RawKey(HOUR, image_id))), dies_at, loses_at)

    def change(self, *, bug: bool, fault: bool) -> None:
        """Somebody deploys a script, or mends a permission."""
        self.has_bug, self.has_fault = bug, fault

    def an_hour_passes(self, dies_in: str | None, *, is_done: bool) -> None:
        """`reconcile` runs, and may die."""
        with self.patch.context() as hour:
            hour.setattr(reconciliation, "PATIENCE", timedelta(minutes=-1))
            hour.setattr(images_table, "ATTEMPT_SECONDS", 0)
            hour.setattr(ingest_workflow, "_step_functions", lambda: _Starter(self))
            if dies_in is not None:
                _die_in(hour, dies_in, is_done)
            with suppress(Died):
                reconcile(event("reconcile"), self.tell("reconcile"))

    def redrive(self, image_id: str, dies_at: str) -> None:
        """An operator asks for another try."""
        with self.patch.context() as moment:
            moment.setattr(ingest_workflow, "_step_functions", lambda: _Starter(self, dies_at))
            answer = redrive_images({"image_ids": [image_id]}, self.tell("redrive_images"))
        assert answer["images"][0]["result"] != "redriven" or image_id not in self.erased

    def erase(self, image_id: str) -> None:
        """An operator erases an image; what nobody knows yet cannot be."""
        sample = event("erase_image")
        sample["path"] = f"/images/{image_id}"
        sample["requestContext"]["authorizer"]["claims"] |= {"sub": "operator", "cognito:groups": "operators"}
        if erase_image(sample, self.tell("erase_image"))["statusCode"] != 404:
            self.erased.add(image_id)

    def stream(self, many: int, *, is_doubled: bool) -> None:
        """The stream brings some of what changed, maybe twice."""
        self._look()
        batch, self.pending = self.pending[:many], self.pending[many:]
        if not batch:
            return
        told = stream_of(*batch, first=self.number)
        for _ in range(1 + is_doubled):
            write_catalog(told, self.tell("write_catalog"))
        if tombstones := [one for one in batch if one["status"] == "erased"]:
            erase_image(stream_of(*tombstones, first=self.number), self.tell("erase_image"))
        self.number += len(batch)

    # What is true in the end

    def settle(self) -> None:
        """Faults stop, hours pass, operators redrive what can be, and the stream brings all there is."""
        self.has_bug = self.has_fault = False
        for _ in range(2):
            self.an_hour_passes(None, is_done=False)
        for image_id in self.kinds:
            self.redrive(image_id, "")
        self.an_hour_passes(None, is_done=False)
        while self.pending or self._look():
            self.stream(20, is_doubled=False)

    def check(self) -> None:
        """What holds of every image."""
        current, every = self._rows()
        for image_id, kind in self.kinds.items():
            if image_id in self.erased:
                self._check_erased(image_id, current)
            else:
                item = _item(image_id)
                assert item["status"] == {"good": "processed", "bad": "rejected"}[kind]
                assert "unreported_since" not in item
                assert current[image_id] == [item["status"]]
                assert every[image_id] == len(self.outcomes[image_id])
                assert set(self.outcomes[image_id]) - {"processed"} <= self.letters[image_id]

    def _check_erased(self, image_id: str, current: dict[str, list[str]]) -> None:
        assert _item(image_id)["status"] == "erased"
        assert image_id not in current
        key = str(RawKey(HOUR, image_id))
        assert "Versions" not in client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=key)
        derived = RawKey(HOUR, image_id).derived_prefix
        assert client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=derived)["KeyCount"] == 0

    # How

    def _run(self, given: Any, dies_at: str = "", loses_at: str = "") -> None:
        self.dies_at, self.loses_at = dies_at, loses_at
        with suppress(Died, StateError):
            self.running.run(given)
        self.dies_at = self.loses_at = ""

    def _enter(self, state: str) -> None:
        self.state = state
        if state == self.dies_at:
            raise Died

    def answered(self, answer: Any) -> Any:
        """The answer to a call of the workflow, unless it is to be lost."""
        if self.state == self.loses_at:
            self.loses_at = ""
            raise StateError("SdkClientException", "the answer is lost")
        return answer

    def _losing(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda payload: self.answered(function(payload))

    def _bug(self, answer: dict[str, Any]) -> dict[str, Any]:
        if not self.has_bug or answer["status"] != "processed":
            return answer
        return {
            "status": "rejected",
            "script_version": answer["script_version"],
            "code": "script_error",
            "detail": "describe: ValueError in line 1",
        }

    def _fault(self, function: Callable[[Any], Any], payload: Any) -> Any:
        if self.has_fault:
            raise RuntimeError("of the test")
        return function(payload)

    def _look(self) -> bool:
        """Read what the stream has new; whether that is anything."""
        answer = client("dynamodbstreams").get_records(ShardIterator=self.iterator)
        self.iterator = answer["NextShardIterator"]
        for record in answer["Records"]:
            item = _plain(record["dynamodb"].get("NewImage", {}))
            if item.get("status") in ("processed", "rejected", "failed", "erased"):  # as the mapping's filter
                self.pending.append(item)
                if item["status"] != "erased" and not {"reported_at", "redriven_at"} & item.keys():
                    self.outcomes[item["image_id"]].append(item["status"])
        self._read_letters()
        return bool(answer["Records"])

    def _read_letters(self) -> None:
        for letter in _letters():
            self.letters[letter["image_id"]].add(letter["status"])

    @staticmethod
    def _rows() -> tuple[dict[str, list[str]], dict[str, int]]:
        """The current rows by image, and how many rows each has in all."""
        current: dict[str, list[str]] = defaultdict(list)
        listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix="catalog/").get("Contents", [])
        if not listed:
            return current, {}
        with tempfile.TemporaryDirectory() as folder:
            for entry in listed:
                file = Path(folder, entry["Key"])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(client("s3").get_object(Bucket=LAKE_BUCKET, Key=entry["Key"])["Body"].read())
            with catalog_over(parquet_under(folder)) as database:
                for image_id, status in database.sql("SELECT image_id, status FROM current_images").fetchall():
                    current[image_id].append(status)
                counted = database.sql("SELECT image_id, count(*) FROM images GROUP BY image_id").fetchall()
        return current, {image_id: int(count) for image_id, count in counted}


class _Client:
    """A client of the workflow, whose answers can get lost after the work was done."""

    def __init__(self, lake: Lake, service: str) -> None:
        self._lake, self._service = lake, service

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda **arguments: self._lake.answered(getattr(client(self._service), operation)(**arguments))


class _Starter:
    """Runs the workflow at once where a function starts it."""

    def __init__(self, lake: Lake, dies_at: str = "") -> None:
        self._lake, self._dies_at = lake, dies_at

    def start_execution(self, stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG002, N803
        self._lake._run(json.loads(input), self._dies_at)


def _die_in(patch: pytest.MonkeyPatch, call: str, is_done: bool) -> None:
    real = getattr(RECONCILE_CALLS[call], call)

    def die(*arguments: Any) -> None:
        if is_done:
            real(*arguments)
        raise Died

    patch.setattr(RECONCILE_CALLS[call], call, die)


def _plain(image: dict[str, Any]) -> dict[str, Any]:
    found = {name: TypeDeserializer().deserialize(value) for name, value in image.items()}
    return dict(json.loads(json.dumps(found, default=float)))


def _item(image_id: str) -> dict[str, Any]:
    return _plain(
        client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}}).get("Item", {})
    )


def _letters() -> Iterator[dict[str, str]]:
    """The messages in the dead-letter queue, which are gone afterwards."""
    sqs = client("sqs")
    while found := sqs.receive_message(QueueUrl=QUEUE_URL, MaxNumberOfMessages=10).get("Messages", []):
        for message in found:
            sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


def _stream() -> str:
    """Where the stream of the images table goes on from now."""
    specification = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    changed = client("dynamodb").update_table(TableName=IMAGES_TABLE, StreamSpecification=specification)
    streams, arn = client("dynamodbstreams"), changed["TableDescription"]["LatestStreamArn"]
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    answer = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="LATEST")
    return str(answer["ShardIterator"])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_dies_every_image_has_its_outcome_its_row_and_its_message(
    seed: int, workflow: Workflow, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(random.Random(seed), workflow, tell, monkeypatch)  # noqa: S311  # no secret

    for _ in range(STEPS):
        lake.step()
    lake.settle()

    lake.check()
