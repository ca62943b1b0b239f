"""Two pictures sent at once through one form: the first version is the image, in every column and every derivative.

The whole race runs through the real workflow and the real functions, 200 times, with the order of uploads, events and
steps drawn from a seed, and pauses between any two steps.
"""

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from boto3.dynamodb.types import TypeDeserializer
from PIL import Image

from imagelake.engine import runner
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, client, created
from tests.integration.presigned import PresignedS3
from tests.workflow import Workflow

RACES = 200
HOUR = ArrivalHour.of(datetime.now(UTC))
ARRIVAL = Arrival(source="api", uploader="somebody")


def plain(color: str) -> bytes:
    content = BytesIO()
    Image.new("RGB", (300, 200), color).save(content, "PNG")
    return content.getvalue()


PICTURES = {"red": plain("#e01010"), "blue": plain("#1010e0")}
COLORS = {hashlib.sha256(content).hexdigest(): color for color, content in PICTURES.items()}


class Turns:
    """Threads that take turns as a seed says: one at a time goes on to its next step, so a race can be run again."""

    def __init__(self, chance: random.Random, pool: ThreadPoolExecutor) -> None:
        self._chance, self._pool = chance, pool
        self._changed = threading.Condition()
        self._waiting: dict[str, bool] = {}
        self._names = threading.local()
        self._left = 0

    def step(self, *_: object) -> None:
        """Wait for this thread's turn; others go first, at random."""
        name = getattr(self._names, "name", None)
        if name is None:
            return
        with self._changed:
            self._waiting[name] = False
            self._choose()
            while not self._waiting[name]:
                self._changed.wait(30)
            del self._waiting[name]

    def run(self, works: dict[str, Callable[[], None]]) -> None:
        """Run all `works` to their end, interleaved."""
        self._left = len(works)
        for done in [self._pool.submit(self._run, name, work) for name, work in works.items()]:
            done.result()

    def _run(self, name: str, work: Callable[[], None]) -> None:
        self._names.name = name
        try:
            self.step()
            work()
        finally:
            self._names.name = None
            with self._changed:
                self._left -= 1
                self._choose()

    def _choose(self) -> None:
        """Once all that are left wait, let one of them go on."""
        if len(self._waiting) == self._left and self._waiting and not any(self._waiting.values()):
            self._waiting[self._chance.choice(sorted(self._waiting))] = True
            self._changed.notify_all()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads, each with a warm process of its own, as each environment of Lambda has."""
    with ThreadPoolExecutor(2) as made:
        yield made
        runner.stop()


def race(
    number: int, workflow: Workflow, presigned: PresignedS3, pool: ThreadPoolExecutor
) -> tuple[RawKey, list[tuple[str, str]]]:
    """Two uploads through one form, and the events of both, one of them twice.

    Returns:
        The key, and the versions with their colours in the order in which they were stored.
    """
    chance = random.Random(number)  # noqa: S311  # no secret
    turns = Turns(chance, pool)
    key = RawKey(HOUR, str(UUID(int=chance.getrandbits(128), version=4)))
    stored: list[tuple[str, str]] = []
    workflow.before = turns.step
    presigned.before = turns.step

    def upload(color: str) -> None:
        put = client("s3").put_object(
            Bucket=RAW_BUCKET,
            Key=str(key),
            Body=PICTURES[color],
            ContentType="image/png",
            Metadata=ARRIVAL.to_metadata(),
        )
        stored.append((put["VersionId"], color))
        turns.step()
        workflow.run(created(str(key), put["VersionId"]))
        if chance.random() < 0.5:  # events come at least once
            workflow.run(created(str(key), put["VersionId"]))

    colors = list(PICTURES)
    turns.run({color: lambda color=color: upload(color) for color in colors})  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
    return key, stored


def seen(key: RawKey) -> dict[str, Any]:
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": key.image_id}})["Item"]
    return {name: TypeDeserializer().deserialize(value) for name, value in stored.items()}


def color_of(derivative: str) -> str:
    content = client("s3").get_object(Bucket=LAKE_BUCKET, Key=derivative)["Body"].read()
    red, _, blue = Image.open(BytesIO(content)).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]  # three bands
    return "red" if red > blue else "blue"


def test_two_pictures_at_once_are_never_mixed_and_never_the_second(
    workflow: Workflow,
    presigned: PresignedS3,
    pool: ThreadPoolExecutor,
    record_property: Callable[[str, object], None],
) -> None:
    winners = {"red": 0, "blue": 0}
    processed_twice = 0
    outcomes = Counter[str]()
    for number in range(RACES):
        key, stored = race(number, workflow, presigned, pool)
        (first, color), (later, _) = stored

        item = seen(key)
        assert item["status"] == "processed", number
        colors = [COLORS[item["sha256"]], *(color_of(derivative["key"]) for derivative in item["derivatives"])]
        colors.append("red" if int(item["dominant_color"][1:3], 16) > 128 else "blue")
        outcomes["mixed" if len(set(colors)) > 1 else "first" if colors[0] == color else "second"] += 1
        prefix = ImageVersion(key, first).prefix
        listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=key.derived_prefix)["Contents"]
        outcomes["named after the first"] += item["version_id"] == first and len(item["derivatives"]) == 2
        outcomes["nothing of the second stored"] += all(entry["Key"].startswith(prefix) for entry in listed)
        reads = [asked for method, asked in presigned.requests if method == "GET"]
        processed_twice += len(reads) > 1
        presigned.requests.clear()
        winners[color] += 1
        assert later != first

    # `python -m benchmarks.first_version_race` prints them.
    for name, count in {**outcomes, "processed by both executions": processed_twice, **winners}.items():
        record_property(name, count)
    assert outcomes == {"first": RACES, "named after the first": RACES, "nothing of the second stored": RACES}
    assert min(winners.values()) > RACES / 4, "the seeds favour one of the two"
    assert processed_twice > RACES / 10, "the seeds never let both executions process the image"


@pytest.mark.parametrize("events", [["first"], ["later"], ["later", "first"], ["first", "later"]])
def test_the_first_version_wins_whichever_event_is_lost_or_late(events: list[str], workflow: Workflow) -> None:
    key = RawKey(HOUR, str(UUID(int=1)))
    versions = {}
    for name, color in (("first", "red"), ("later", "blue")):
        put = client("s3").put_object(Bucket=RAW_BUCKET, Key=str(key), Body=PICTURES[color], ContentType="image/png")
        versions[name] = put["VersionId"]

    for name in events:
        workflow.run(created(str(key), versions[name]))

    item = seen(key)
    assert (item["version_id"], COLORS[item["sha256"]]) == (versions["first"], "red")
