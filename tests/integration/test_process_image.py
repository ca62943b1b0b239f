"""Processing real pictures out of one bucket into the other."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.stub import Stubber
from PIL import Image

from imagelake.engine.runner import find_scripts
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Arrival, ImageRecord
from imagelake.stores import buckets
from local.emulator.datapoints import in_logs
from local.samples import Sample, make_samples
from tests.conftest import GivePipelines
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, client, created, dead_letters_sent
from tests.integration.presigned import PresignedS3, Response
from tests.workflow import Workflow

SAMPLES = {sample.filename: sample for sample in make_samples()}
HILLS, HARBOUR, NOTES = SAMPLES["hills.jpg"], SAMPLES["harbour-upright.jpg"], SAMPLES["notes.jpg"]
KEY = RawKey(ArrivalHour("2026-11-22", "09"), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
ARRIVAL = Arrival(
    source="api",
    source_ref="0f4e1c9b",
    uploader="7d8e2f10-ada",
    tags={"filename": "private-holiday.jpg", "trip": "north face"},
    tenant="acme",
)


@dataclass(frozen=True)
class Ended:
    """How an execution ended: the states it went through, and the item that there is."""

    states: list[str]
    item: dict[str, Any]

    @property
    def status(self) -> str | None:
        """As stored."""
        return self.item.get("status")

    @property
    def reason(self) -> str:
        """As stored."""
        return str(self.item.get("reason", ""))

    @property
    def record(self) -> ImageRecord:
        """As the stream delivers it."""
        return ImageRecord.model_validate(self.item)

    @property
    def version(self) -> ImageVersion:
        """The version that was processed."""
        return ImageVersion(KEY, self.item["version_id"])


type Process = Callable[..., Ended]


def item() -> dict[str, Any]:
    """The item of the image."""
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}}).get("Item", {})
    return {name: TypeDeserializer().deserialize(value) for name, value in stored.items()}


def put(sample: Sample, arrival: Arrival = ARRIVAL) -> str:
    """Put a file into the raw bucket, as a form would; the id of its version."""
    stored = client("s3").put_object(
        Bucket=RAW_BUCKET,
        Key=str(KEY),
        Body=sample.content,
        ContentType=sample.content_type,
        Metadata=arrival.to_metadata(),
    )
    return str(stored["VersionId"])


@pytest.fixture
def process(workflow: Workflow) -> Process:
    def process(sample: Sample, arrival: Arrival = ARRIVAL) -> Ended:
        """Put a file into the raw bucket and run the workflow for it."""
        version_id = put(sample, arrival)
        return Ended(workflow.run(created(str(KEY), version_id)), item())

    return process


def _derivatives() -> dict[str, bytes]:
    """The objects in the lake bucket by key."""
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET).get("Contents", [])
    return {
        entry["Key"]: client("s3").get_object(Bucket=LAKE_BUCKET, Key=entry["Key"])["Body"].read() for entry in listed
    }


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_every_sample_ends_as_it_should(sample: Sample, process: Process) -> None:
    record = process(sample).record

    assert record.status == sample.status
    assert (record.sha256, record.bytes) == (hashlib.sha256(sample.content).hexdigest(), len(sample.content))
    assert record.content_type == sample.content_type
    assert record.model_dump(include=set(Arrival.model_fields) - {"sha256"}) == ARRIVAL.model_dump(exclude={"sha256"})
    assert record.expires_at - record.received_at == timedelta(days=7)
    assert (record.ingest_date, record.hour) == ("2026-11-22", "09")
    assert set(_derivatives()) == {derivative.key for derivative in record.derivatives}


def test_a_processed_image_has_all_its_columns(process: Process) -> None:
    record = process(HARBOUR).record

    assert (record.format, record.width, record.height, record.orientation) == ("JPEG", 1200, 900, 6)
    assert (record.camera_make, record.camera_model) == ("Pocket", "P 12")
    assert record.taken_at == datetime(2026, 5, 17, 16, 30, 12, tzinfo=UTC)
    assert (record.gps_lat, record.gps_lon) == pytest.approx((-33.8568, 151.2153), abs=1e-5)
    assert record.script == "describe,thumbnails"
    assert record.script_version is not None
    assert [len(version) for version in record.script_version.split(",")] == [12, 12]
    assert not [name for name, value in record if value is None and name != "reason"]


def test_derivatives_are_upright_and_carry_no_metadata(process: Process) -> None:
    ended = process(HARBOUR)
    record = ended.record
    stored = _derivatives()

    assert {one.name: (one.width, one.height) for one in record.derivatives} == {
        "thumb_1024": (768, 1024),
        "thumb_256": (192, 256),
    }
    for one in record.derivatives:
        assert one.key == ended.version.derived(one.name, "jpg")
        image = Image.open(BytesIO(stored[one.key]))
        assert image.size == (one.width, one.height)
        assert Image.MIME[image.format or ""] == one.content_type
        assert not image.getexif()
        assert not set(image.info) & {"exif", "comment", "icc_profile", "xmp", "photoshop"}
        left, right = (image.convert("L").resize((2, 2)).getpixel((x, 0)) for x in (0, 1))
        assert isinstance(left, int)
        assert isinstance(right, int)
        bottom = image.convert("L").resize((1, 2)).getpixel((0, 1))
        assert isinstance(bottom, int)
        assert min(left, right) > bottom, "the sky is up"


def test_an_image_that_has_an_outcome_is_not_processed_again(process: Process, presigned: PresignedS3) -> None:
    first = process(HILLS)
    presigned.requests.clear()

    second = process(NOTES)

    assert second.states == ["Identify image", "Open image", "Check decision", "Skip duplicate"]
    assert second.item == first.item
    assert presigned.requests == []


def test_the_first_version_counts_whichever_event_comes_first(workflow: Workflow) -> None:
    first, later = put(HILLS), put(NOTES)

    workflow.run(created(str(KEY), later))
    workflow.run(created(str(KEY), first))

    assert (item()["status"], item()["version_id"]) == ("processed", first)
    assert item()["sha256"] == hashlib.sha256(HILLS.content).hexdigest()


def test_later_versions_are_counted_once_each(workflow: Workflow, capsys: pytest.CaptureFixture[str]) -> None:
    versions = [put(sample) for sample in (HILLS, NOTES, HARBOUR)]

    for version in (versions[1], versions[0], versions[0], versions[2]):
        workflow.run(created(str(KEY), version))

    assert capsys.readouterr().out.count('"LaterVersions":[1.0]') == 2


def test_a_delete_marker_hides_no_first_version(workflow: Workflow) -> None:
    first = put(HILLS)
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=str(KEY))
    later = put(NOTES)

    workflow.run(created(str(KEY), later))

    assert (item()["status"], item()["version_id"]) == ("processed", first)


def test_a_rejected_image_says_why_and_stores_nothing(process: Process) -> None:
    ended = process(NOTES)

    assert (ended.status, ended.reason) == ("rejected", "not_an_image: the bytes are not those of an image")
    assert _derivatives() == {}
    assert ended.states[-2:] == ["Catalog image", "Finish"]
    assert dead_letters_sent() == [], "a result, which its event tells"


def test_a_rejected_image_says_which_scripts_it_was_given_to_and_when_they_ended(process: Process) -> None:
    began = datetime.now(UTC)

    record = process(NOTES).record

    assert record.script == "describe,thumbnails"
    assert record.script_version == ",".join(one.version for one in find_scripts(["describe", "thumbnails"]))
    assert record.processed_at
    assert record.processed_at >= began - timedelta(milliseconds=1)


def test_other_bytes_than_the_sender_gave_the_checksum_of_are_rejected(process: Process) -> None:
    arrival = ARRIVAL.model_copy(update={"sha256": "f" * 64})

    ended = process(HILLS, arrival)

    assert ended.status == "rejected"
    assert ended.reason.startswith("checksum_mismatch: ")
    assert ended.record.sha256 == hashlib.sha256(HILLS.content).hexdigest()


def test_an_image_over_the_limit_is_rejected(process: Process, give_pipelines: GivePipelines) -> None:
    give_pipelines(limits={"max_bytes": len(HILLS.content) - 1})

    assert process(HILLS).reason.startswith("too_many_bytes: ")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("max_pixels", "too_many_pixels"), ("max_total_pixels", "too_many_pixels"), ("max_side", "side_too_long")],
)
def test_an_image_that_a_task_would_take_is_rejected_with_the_name_of_the_parameter(
    limit: str, code: str, process: Process, give_pipelines: GivePipelines
) -> None:
    give_pipelines(limits={limit: 1000})

    reason = process(HILLS).reason

    assert reason.startswith(f"{code}: ")
    assert reason.endswith("; enable large images (parameter LargeImageTag) to accept it")


def test_a_large_image_is_left_to_the_task_where_there_is_one(
    process: Process, give_pipelines: GivePipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_pipelines(limits={"max_pixels": 1000})
    monkeypatch.setenv("LARGE_IMAGES", "true")

    assert process(HILLS).states[-2:] == ["Hand over large image", "Finish"]
    assert item() == {}
    assert [key.rpartition("/")[2] for key in _derivatives()] == ["order.json"]


@pytest.mark.parametrize("large_images", ["true", "false"])
def test_an_image_that_is_too_large_for_the_task_as_well_is_rejected_as_ever(
    large_images: str, process: Process, give_pipelines: GivePipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_IMAGES", large_images)
    give_pipelines(limits={"max_pixels": 1000}, large_limits={"max_pixels": 2000})

    reason = process(HILLS).reason

    assert reason.startswith("too_many_pixels: ")
    assert reason.endswith("the limit is 1000")


@pytest.mark.parametrize(
    ("call", "code", "fault"),
    [
        ("list_object_versions", "AccessDenied", "AccessDenied on ListObjectVersions"),
        ("head_object", "SlowDown", "SlowDown on HeadObject"),
    ],
)
def test_a_refusal_of_s3_is_a_fault_with_code_and_operation(call: str, code: str, fault: str, process: Process) -> None:
    with Stubber(buckets.s3_client()) as stubbed:
        for _ in range(6):  # tries
            if call != "list_object_versions":
                stubbed.add_response("list_object_versions", _versions_listed())
            stubbed.add_client_error(call, code, "private-holiday.jpg")

        ended = process(HILLS)

    assert ended.states[-1] == "Fail"
    assert (ended.status, ended.reason) == ("failed", f"fault: {fault}")
    (letter,) = dead_letters_sent()
    assert letter["reason"] == ended.reason


def _versions_listed() -> dict[str, Any]:
    return {"Versions": [{"Key": str(KEY), "VersionId": "1", "LastModified": datetime.now(UTC), "Size": 1}]}


@pytest.mark.parametrize(("method", "status"), [("GET", 403), ("GET", 503), ("POST", 403)])
def test_a_refusal_of_a_presigned_request_is_a_fault_without_its_url(
    method: str, status: int, process: Process, presigned: PresignedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = presigned.request
    monkeypatch.setattr(
        presigned,
        "request",
        lambda asked, url, **options: Response(status) if asked == method else answer(asked, url, **options),
    )

    ended = process(HILLS)

    assert (ended.status, ended.reason) == ("failed", f"fault: status {status} on {method}")


def test_an_image_of_no_byte_is_rejected(process: Process) -> None:
    ended = process(replace(HILLS, content=b""))

    assert (ended.status, ended.reason.partition(":")[0]) == ("rejected", "not_an_image")


def test_runs_the_scripts_of_the_pipeline_with_its_parameters(process: Process, give_pipelines: GivePipelines) -> None:
    give_pipelines(default={"scripts": ["redact"], "params": {"redact": {"max_side": 100}}})

    record = process(HILLS).record

    assert record.script == "redact"
    assert [max(made.width, made.height) for made in record.derivatives] == [100]


@pytest.mark.parametrize(("max_side", "counted"), [("no number", [("7", 1.0)]), (100, [])])
def test_an_image_that_a_script_fails_on_is_counted_by_the_version_of_the_function(
    max_side: Any,
    counted: list[Any],
    process: Process,
    give_pipelines: GivePipelines,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_pipelines(default={"scripts": ["redact"], "params": {"redact": {"max_side": max_side}}})

    assert process(HILLS).item["status"] == ("rejected" if counted else "processed")
    found = list(in_logs(capsys.readouterr().out.splitlines()))
    assert [(one.of("version"), one.value) for one in found if one.name == "ScriptFailures"] == counted
    assert [one.value for one in found if one.name == "ScriptFailuresOfAllVersions"] == [one for _, one in counted]


def test_an_image_that_is_at_fault_itself_is_not_counted_against_the_version(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    assert process(NOTES).item["status"] == "rejected"
    assert "ScriptFailures" not in capsys.readouterr().out


PERSONAL = ("private-holiday", "filename", "north face", "7d8e2f10-ada", "33.85", "151.21", "Pocket")


@pytest.mark.parametrize("sample", [HARBOUR, NOTES], ids=["processed", "rejected"])
def test_logs_no_personal_data_and_no_signature(sample: Sample, process: Process, logs: StringIO) -> None:
    process(sample)

    said = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [entry["message"] for entry in said] == ["image open", f"image {sample.status}", f"image {sample.status}"]
    assert KEY.image_id in logs.getvalue()
    assert not [word for word in (*PERSONAL, "X-Amz", "x-amz", "https:") if word in logs.getvalue()]


def test_what_is_raised_over_metadata_repeats_none_of_it(process: Process) -> None:
    unfit = Arrival.model_construct(source="two words", tags={"filename": "private-holiday.jpg"})

    ended = process(HILLS, unfit)

    assert ended.reason.startswith("fault: ValidationError at model.py")
    assert "two words" not in ended.reason
    assert "private-holiday" not in ended.reason
