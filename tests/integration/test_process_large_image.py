"""The task for large images: the same engine, and an end like the workflow's."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from botocore.stub import Stubber
from PIL import Image

from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival, AwaitedUpload, Tombstone
from imagelake.process import large_image
from imagelake.stores import buckets
from imagelake.stores.images_table import ImagesTable
from tasks.process_large_image.app import logger, main
from tests.application import resolve, task_variables
from tests.conftest import GivePipelines
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, client, dead_letters_sent

NOW = datetime.now(UTC)
KEY = RawKey(ArrivalHour.of(NOW), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
ARRIVAL = Arrival(source="api", uploader="7d8e2f10-ada", tags={"filename": "private-holiday.png"})


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """All that the task logs; it is told what the template tells it."""
    for name, value in task_variables().items():
        monkeypatch.setenv(name, str(resolve(value)))
    monkeypatch.setattr(large_image, "PAUSES", (0.0, 0.0))
    written = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", written)
    return written


@pytest.fixture(scope="module")
def picture() -> bytes:
    """60 megapixels, 10 more than a function takes."""
    content = BytesIO()
    Image.linear_gradient("L").resize((10_000, 6_000)).save(content, "PNG", compress_level=1)
    return content.getvalue()


def run(content: bytes | None) -> int:
    """Run the task on an image in the raw bucket; its exit code."""
    told = {"bucket": RAW_BUCKET, "key": str(KEY), "time": NOW.isoformat()}
    if content is not None:
        put = client("s3").put_object(
            Bucket=RAW_BUCKET, Key=str(KEY), Body=content, ContentType="image/png", Metadata=ARRIVAL.to_metadata()
        )
        told["version_id"] = put["VersionId"]
    return main(json.dumps(told))


def item() -> dict[str, Any]:
    found = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}})
    return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}


def awaited() -> None:
    upload = AwaitedUpload(
        image_id=KEY.image_id,
        uploader=str(ARRIVAL.uploader),
        received_at=NOW,
        expires_at=NOW + timedelta(days=1),
        content_type="image/png",
        ingest_date=KEY.hour.ingest_date,
        hour=KEY.hour.hour,
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])


def test_an_awaited_image_is_processed_exactly_once(picture: bytes) -> None:
    awaited()

    assert run(picture) == 0
    first = item()
    assert run(picture) == 0

    assert (first["status"], first["width"], first["height"]) == ("processed", "10000", "6000")
    assert first["uploader"] == ARRIVAL.uploader
    assert item() == first
    assert dead_letters_sent() == []
    stored = {entry["Key"] for entry in client("s3").list_objects_v2(Bucket=LAKE_BUCKET)["Contents"]}
    assert stored == {derivative["M"]["key"]["S"] for derivative in first["derivatives"]}
    assert len(stored) == 2


def test_a_broken_image_is_rejected_and_reported_once(picture: bytes) -> None:
    assert [run(picture[: len(picture) // 2]) for _ in range(2)] == [0, 0]

    (letter,) = dead_letters_sent()
    assert (item()["status"], item()["reason"]) == ("rejected", letter["reason"])
    assert letter["reason"].startswith("truncated: ")
    assert (letter["image_id"], letter["bucket"], letter["key"]) == (KEY.image_id, RAW_BUCKET, str(KEY))


@pytest.mark.parametrize("large_images", ["true", "false"])
def test_an_image_over_the_limit_of_the_task_is_rejected(
    large_images: str, picture: bytes, give_pipelines: GivePipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_pipelines(large_limits={"max_pixels": 59_000_000})
    monkeypatch.setenv("LARGE_IMAGES", large_images)

    assert run(picture) == 0

    assert item()["reason"] == "too_many_pixels: a picture of 60000000 pixels, the limit is 59000000"


def test_an_erased_image_does_not_come_back(picture: bytes) -> None:
    elsewhere = ArrivalHour.of(NOW - timedelta(hours=3))
    tombstone = Tombstone(
        image_id=KEY.image_id,
        erased_at=NOW,
        expires_at=NOW + timedelta(days=7),
        ingest_date=elsewhere.ingest_date,
        hour=elsewhere.hour,
    )
    ImagesTable(IMAGES_TABLE).bury(tombstone)

    assert run(picture) == 0

    assert (item()["status"], item()["hour"]) == ("erased", KEY.hour.hour)
    assert "returned_at" in item(), "the stream erases what has been stored meanwhile"
    assert "width" not in item()


def test_an_image_that_is_gone_leaves_no_item() -> None:
    assert run(None) == 0

    assert item() == {}
    assert dead_letters_sent() == []


def test_a_fault_is_tried_again(picture: bytes) -> None:
    with Stubber(buckets.s3_client()) as stubbed:
        stubbed.add_client_error("get_object", "SlowDown")
        stubbed.add_client_error("get_object", "NoSuchKey")

        assert run(picture) == 0

        stubbed.assert_no_pending_responses()


def test_a_fault_that_lasts_is_recorded_and_reported_and_a_redrive_mends_it(picture: bytes) -> None:
    awaited()
    with Stubber(buckets.s3_client()) as stubbed:
        for _ in range(3):
            stubbed.add_client_error("get_object", "AccessDenied", "private-holiday.png")

        assert run(picture) == 1

    failed = item()
    (letter,) = dead_letters_sent()
    assert (failed["status"], failed["reason"]) == ("failed", "fault: AccessDenied on GetObject")
    assert (letter["status"], letter["reason"]) == ("failed", failed["reason"])
    assert failed["uploader"] == ARRIVAL.uploader
    assert int(failed["expires_at"]) == pytest.approx((NOW + timedelta(days=7)).timestamp(), abs=2)

    assert run(picture) == 0
    assert item()["status"] == "processed"


def test_a_late_failure_changes_no_outcome(picture: bytes) -> None:
    run(picture)
    processed = item()
    with Stubber(buckets.s3_client()) as stubbed:
        for _ in range(3):
            stubbed.add_client_error("get_object", "AccessDenied")

        assert run(picture) == 0

    assert item() == processed
    assert dead_letters_sent() == []


def test_a_task_that_cannot_commit_leaves_the_image_to_be_found(
    picture: bytes, logs: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGES_TABLE", "elsewhere")

    assert run(picture) == 1

    assert json.loads(logs.getvalue())["reason"] == "fault: ResourceNotFoundException on PutItem"
    assert item() == {}
    assert dead_letters_sent() == []


def test_logs_no_personal_data(picture: bytes, logs: StringIO) -> None:
    run(picture)
    run(picture[:1000])

    assert str(KEY) in logs.getvalue()
    assert not [word for word in ("private-holiday", "filename", "7d8e2f10-ada") if word in logs.getvalue()]
