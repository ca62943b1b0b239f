"""The task for large images: an order in, an answer out, and the workflow goes on from there."""

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from PIL import Image

from imagelake.engine import environment, runner, transfer
from imagelake.engine.contract import EngineOrder
from imagelake.engine.runner import Measure
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival, AwaitedUpload, Tombstone
from imagelake.stores.images_table import ImagesTable
from tasks.process_large_image.app import logger, main
from tests.application import resolve, task_variables
from tests.conftest import GivePipelines
from tests.integration.conftest import (
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    client,
    created,
    dead_letters_sent,
)
from tests.integration.presigned import PresignedS3, Response
from tests.workflow import Workflow

NOW = datetime.now(UTC)
KEY = RawKey(ArrivalHour.of(NOW), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
ARRIVAL = Arrival(source="api", uploader="7d8e2f10-ada", tags={"filename": "private-holiday.png"})


@pytest.fixture
def task_logs(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """All that the task logs; it is told what the template tells it."""
    for name, value in task_variables().items():
        monkeypatch.setenv(name, str(resolve(value)))
    written = StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", written)
    return written


@pytest.fixture(autouse=True)
def started(workflow: Workflow, monkeypatch: pytest.MonkeyPatch, task_logs: StringIO) -> list[str]:  # noqa: ARG001  # told before
    """The orders of the tasks that the workflow started: what each was told."""
    monkeypatch.setenv("LARGE_IMAGES", "true")
    orders: list[str] = []

    def run_task(arguments: dict[str, Any]) -> dict[str, Any]:
        [override] = arguments["Overrides"]["ContainerOverrides"]
        orders.extend(override["Command"])
        return {}

    workflow.run_task = run_task
    return orders


@pytest.fixture(scope="module")
def picture() -> bytes:
    """60 megapixels, 10 more than a function takes."""
    content = BytesIO()
    Image.linear_gradient("L").resize((10_000, 6_000)).save(content, "PNG", compress_level=1)
    return content.getvalue()


def put(content: bytes) -> ImageVersion:
    stored = client("s3").put_object(
        Bucket=RAW_BUCKET, Key=str(KEY), Body=content, ContentType="image/png", Metadata=ARRIVAL.to_metadata()
    )
    return ImageVersion(KEY, stored["VersionId"])


def arrive(workflow: Workflow, content: bytes) -> ImageVersion:
    """Put an image and run the workflow for it, which leaves it to the task."""
    version = put(content)
    states = workflow.run(created(str(KEY), version.version_id))
    assert states[-2:] == ["Hand over large image", "Finish"]
    return version


def collect(workflow: Workflow, version: ImageVersion) -> list[str]:
    """Run the workflow for what the task has stored."""
    return workflow.run(created(version.result))


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


def test_the_task_says_which_measures_do_not_confine_its_scripts(
    picture: bytes,
    workflow: Workflow,
    started: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment.report_measures.cache_clear()
    monkeypatch.setattr(runner, "measures", lambda: {Measure.FILTER: False, Measure.HIDDEN: True})
    arrive(workflow, picture)

    assert main(*started) == 0

    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "MeasuresMissing" in line]
    assert (line["MeasuresMissing"], line["measures"]) == (1, ["filter"])
    assert line["service"] == resolve(task_variables()["POWERTOOLS_SERVICE_NAME"])


def test_an_awaited_image_is_processed_exactly_once(picture: bytes, workflow: Workflow, started: list[str]) -> None:
    awaited()
    version = arrive(workflow, picture)
    assert item()["status"] == "awaiting_upload"

    assert [main(*started), main(*started)] == [0, 0]
    assert item()["status"] == "awaiting_upload", "the task commits nothing"
    assert collect(workflow, version)[-1] == "Finish"
    first = item()

    assert collect(workflow, version)[-1] == "Skip duplicate"
    assert (first["status"], first["width"], first["height"]) == ("processed", "10000", "6000")
    assert (first["uploader"], first["version_id"]) == (ARRIVAL.uploader, version.version_id)
    assert first["attempts"] == "1", "the function's, so it says nothing of how fast the function answers"
    assert item() == first
    assert dead_letters_sent() == []
    stored = {entry["Key"] for entry in client("s3").list_objects_v2(Bucket=LAKE_BUCKET)["Contents"]}
    derivatives = {derivative["M"]["key"]["S"] for derivative in first["derivatives"]}
    assert stored == derivatives | {version.order, version.result}
    assert len(derivatives) == 2


def test_a_broken_image_is_rejected_once(picture: bytes, workflow: Workflow, started: list[str]) -> None:
    version = arrive(workflow, picture[: len(picture) // 2])
    main(*started)

    assert [collect(workflow, version)[-1] for _ in range(2)] == ["Finish", "Skip duplicate"]

    assert (item()["status"], item()["reason"].partition(":")[0]) == ("rejected", "truncated")
    assert dead_letters_sent() == []


def test_an_image_that_a_changed_limit_makes_too_large_is_rejected(
    picture: bytes, workflow: Workflow, started: list[str], give_pipelines: GivePipelines
) -> None:
    version = put(picture)
    workflow.before = lambda state: (
        give_pipelines(large_limits={"max_pixels": 59_000_000}) if state == "Open image for task" else None
    )
    workflow.run(created(str(KEY), version.version_id))
    main(*started)
    collect(workflow, version)

    assert item()["reason"] == "too_many_pixels: a picture of 60000000 pixels, the limit is 59000000"


def test_an_image_that_was_erased_meanwhile_does_not_come_back(
    picture: bytes, workflow: Workflow, started: list[str]
) -> None:
    version = arrive(workflow, picture)
    elsewhere = ArrivalHour.of(NOW - timedelta(hours=3))
    tombstone = Tombstone(
        image_id=KEY.image_id,
        erased_at=NOW,
        expires_at=NOW + timedelta(days=7),
        ingest_date=elsewhere.ingest_date,
        hour=elsewhere.hour,
    )
    ImagesTable(IMAGES_TABLE).bury(tombstone)
    main(*started)

    assert collect(workflow, version)[-2:] == ["Move tombstone", "Finish"]

    assert (item()["status"], item()["hour"]) == ("erased", KEY.hour.hour)
    assert "returned_at" in item(), "the stream erases what has been stored meanwhile"
    assert "width" not in item()


def test_a_result_whose_image_is_gone_leaves_no_item(picture: bytes, workflow: Workflow, started: list[str]) -> None:
    version = arrive(workflow, picture)
    main(*started)
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=str(KEY), VersionId=version.version_id)

    assert collect(workflow, version)[-1] == "Finish"

    assert item() == {}
    assert dead_letters_sent() == []


def test_a_result_of_another_version_than_the_first_does_not_count(
    picture: bytes, workflow: Workflow, started: list[str]
) -> None:
    arrive(workflow, picture)
    later = put(picture)
    main(*started)
    client("s3").put_object(Bucket=LAKE_BUCKET, Key=later.result, Body=b"{}")

    assert collect(workflow, later)[-1] == "Finish"

    assert item() == {}


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"not json",
        b"{}",
        b'{"status": "large"}',
        b'{"status": "gone"}',
        b'{"status": "processed"}',
        b"[" * 100_000,
        b'"' + b"x" * 300_000 + b'"',
    ],
    ids=len,
)
def test_a_result_that_is_none_is_rejected_as_such(
    result: bytes, picture: bytes, workflow: Workflow, started: list[str]
) -> None:
    version = arrive(workflow, picture)
    main(*started)
    signed = client("s3").head_object(Bucket=LAKE_BUCKET, Key=version.result)["Metadata"]
    client("s3").put_object(
        Bucket=LAKE_BUCKET, Key=version.result, Body=result, ContentType="application/json", Metadata=signed
    )

    collect(workflow, version)

    assert (item()["status"], item()["reason"].partition(":")[0]) == ("rejected", "engine_answer_invalid")
    assert (item()["uploader"], item()["image_id"]) == (ARRIVAL.uploader, KEY.image_id)


def test_a_result_over_which_the_form_for_derivatives_was_used_is_rejected_as_such(
    picture: bytes, workflow: Workflow, started: list[str]
) -> None:
    version = arrive(workflow, picture)
    main(*started)
    order = EngineOrder.model_validate_json(transfer.fetch(*started))
    answer = client("s3").get_object(Bucket=LAKE_BUCKET, Key=version.result)["Body"].read()
    transfer.store(order.form, version.result, answer, "image/png")

    collect(workflow, version)

    assert (item()["status"], item()["reason"].partition(":")[0]) == ("rejected", "engine_answer_invalid")


def test_a_result_is_checked_against_the_scripts_and_limits_it_was_ordered_with(
    picture: bytes, workflow: Workflow, started: list[str], give_pipelines: GivePipelines
) -> None:
    version = arrive(workflow, picture)
    main(*started)
    give_pipelines(
        limits={"max_side": 1}, large_limits={"max_side": 1}, default={"scripts": ["describe", "redact", "thumbnails"]}
    )

    collect(workflow, version)

    assert (item()["status"], item()["script"]) == ("processed", "describe,thumbnails")


def test_a_result_that_is_erased_before_it_is_read_is_a_fault(
    picture: bytes, workflow: Workflow, started: list[str]
) -> None:
    version = arrive(workflow, picture)
    main(*started)

    def before(state: str) -> None:
        if state == "Close image":
            client("s3").delete_object(Bucket=LAKE_BUCKET, Key=version.result)

    workflow.before = before

    collect(workflow, version)

    assert (item()["status"], item()["reason"]) == ("failed", "fault: NoSuchKey on HeadObject")
    assert item()["attempts"] == "1"


@pytest.mark.parametrize(("method", "status"), [("GET", 403), ("POST", 403), ("POST", 503)])
def test_a_task_that_is_refused_says_so_without_a_url_and_leaves_the_image_to_be_found(
    method: str,
    status: int,
    picture: bytes,
    workflow: Workflow,
    started: list[str],
    presigned: PresignedS3,
    monkeypatch: pytest.MonkeyPatch,
    task_logs: StringIO,
) -> None:
    arrive(workflow, picture)
    answer = presigned.request
    monkeypatch.setattr(
        presigned,
        "request",
        lambda asked, url, **options: Response(status) if asked == method else answer(asked, url, **options),
    )

    assert main(*started) == 1

    assert json.loads(task_logs.getvalue().splitlines()[-1])["reason"] == f"fault: status {status} on {method}"
    assert item() == {}
    assert dead_letters_sent() == []


def test_an_order_that_is_over_opens_nothing(
    picture: bytes, workflow: Workflow, started: list[str], presigned: PresignedS3
) -> None:
    version = arrive(workflow, picture)
    presigned.now = lambda: datetime.now(UTC) + timedelta(hours=1)

    assert main(*started) == 1

    stored = [entry["Key"] for entry in client("s3").list_objects_v2(Bucket=LAKE_BUCKET)["Contents"]]
    assert stored == [version.order]


def test_logs_no_personal_data_and_no_signature(
    picture: bytes, workflow: Workflow, started: list[str], task_logs: StringIO
) -> None:
    arrive(workflow, picture)
    main(*started)

    said = json.loads(task_logs.getvalue().splitlines()[-1])
    assert (said["message"], KEY.image_id in said["prefix"]) == ("image processed", True)
    words = ("private-holiday", "filename", "7d8e2f10-ada", "X-Amz", "https:")
    assert not [word for word in words if word in task_logs.getvalue()]
