"""Processing real pictures out of one bucket into the other."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from PIL import Image

from functions.process_image.app import handler
from imagelake.engine.runner import find_scripts
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import Arrival, ImageRecord
from imagelake.stores import buckets
from imagelake.stores.buckets import Bucket
from local.samples import Sample, make_samples
from tests.application import event
from tests.conftest import GivePipelines
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, Context, client

SAMPLES = {sample.filename: sample for sample in make_samples()}
HILLS, HARBOUR, NOTES = SAMPLES["hills.jpg"], SAMPLES["harbour-upright.jpg"], SAMPLES["notes.jpg"]
KEY = RawKey(ArrivalHour("2026-11-22", "09"), "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f")
ARRIVAL = Arrival(
    source="api",
    source_ref="0f4e1c9b",
    uploader="7d8e2f10-ada",
    tags={"filename": "private-holiday.jpg", "trip": "north face"},
)

type Process = Callable[..., dict[str, Any]]


@pytest.fixture
def process(tell: Callable[[str], Context], logs: StringIO) -> Process:  # noqa: ARG001  # not for the terminal
    context = tell("process_image")

    def process(sample: Sample, arrival: Arrival = ARRIVAL) -> dict[str, Any]:
        """Put a file into the raw bucket, as a form would, and process that version of it."""
        put = client("s3").put_object(
            Bucket=RAW_BUCKET,
            Key=str(KEY),
            Body=sample.content,
            ContentType=sample.content_type,
            Metadata=arrival.to_metadata(),
        )
        told = {"bucket": RAW_BUCKET, "key": str(KEY), "version_id": put["VersionId"]}
        assert told.keys() == event("process_image").keys()
        outcome: dict[str, Any] = json.loads(json.dumps(handler(told, context)))
        return outcome

    return process


def _record(outcome: dict[str, Any]) -> ImageRecord:
    """The record in an outcome's item, read as the stream delivers it."""
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=outcome["item"])
    stored = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": KEY.image_id}})["Item"]
    return ImageRecord.model_validate({name: TypeDeserializer().deserialize(value) for name, value in stored.items()})


def _derivatives() -> dict[str, bytes]:
    """The objects in the lake bucket by key."""
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET).get("Contents", [])
    return {
        entry["Key"]: client("s3").get_object(Bucket=LAKE_BUCKET, Key=entry["Key"])["Body"].read() for entry in listed
    }


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_every_sample_ends_as_it_should(sample: Sample, process: Process) -> None:
    outcome = process(sample)
    record = _record(outcome)

    assert outcome["outcome"] == record.status == sample.status
    assert (record.sha256, record.bytes) == (hashlib.sha256(sample.content).hexdigest(), len(sample.content))
    assert record.content_type == sample.content_type
    assert record.model_dump(include=set(Arrival.model_fields) - {"sha256"}) == ARRIVAL.model_dump(exclude={"sha256"})
    assert record.expires_at - record.received_at == timedelta(days=7)
    assert (record.ingest_date, record.hour) == ("2026-11-22", "09")
    assert set(_derivatives()) == {derivative.key for derivative in record.derivatives}


def test_a_processed_image_has_all_its_columns(process: Process) -> None:
    record = _record(process(HARBOUR))

    assert (record.format, record.width, record.height, record.orientation) == ("JPEG", 1200, 900, 6)
    assert (record.camera_make, record.camera_model) == ("Pocket", "P 12")
    assert record.taken_at == datetime(2026, 5, 17, 16, 30, 12, tzinfo=UTC)
    assert (record.gps_lat, record.gps_lon) == pytest.approx((-33.8568, 151.2153), abs=1e-5)
    assert record.script == "describe,thumbnails"
    assert record.script_version is not None
    assert [len(version) for version in record.script_version.split(",")] == [12, 12]
    assert not [name for name, value in record if value is None and name != "reason"]


def test_derivatives_are_upright_and_carry_no_metadata(process: Process) -> None:
    record = _record(process(HARBOUR))
    stored = _derivatives()

    assert {one.name: (one.width, one.height) for one in record.derivatives} == {
        "thumb_1024": (768, 1024),
        "thumb_256": (192, 256),
    }
    for one in record.derivatives:
        assert one.key == KEY.derived(one.name, "jpg")
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


def test_a_second_run_leaves_the_derivatives_of_the_first(process: Process) -> None:
    first = process(HILLS)
    [key, *_] = _derivatives()
    client("s3").put_object(Bucket=LAKE_BUCKET, Key=key, Body=b"of the first run")

    second = process(HILLS)

    assert _derivatives()[key] == b"of the first run"
    assert first["item"]["derivatives"] == second["item"]["derivatives"]


def test_reads_the_version_it_was_told_of(process: Process, tell: Callable[[str], Context]) -> None:
    good = process(HILLS)
    versions = client("s3").list_object_versions(Bucket=RAW_BUCKET)["Versions"]
    process(NOTES)

    told = {"bucket": RAW_BUCKET, "key": str(KEY), "version_id": versions[0]["VersionId"]}
    again = handler(told, tell("process_image"))

    assert good["outcome"] == again["outcome"] == "processed"


def test_a_rejected_image_says_why_and_stores_nothing(process: Process) -> None:
    outcome = process(NOTES)

    assert outcome["reason"] == "not_an_image: the bytes are not those of an image"
    assert outcome["item"]["reason"] == {"S": outcome["reason"]}
    assert _derivatives() == {}


def test_a_rejected_image_says_which_scripts_it_was_given_to_and_when_they_ended(process: Process) -> None:
    began = datetime.now(UTC)

    record = _record(process(NOTES))

    assert record.script == "describe,thumbnails"
    assert record.script_version == ",".join(one.version for one in find_scripts(["describe", "thumbnails"]))
    assert record.processed_at
    assert record.processed_at >= began - timedelta(milliseconds=1)


def test_other_bytes_than_the_sender_gave_the_checksum_of_are_rejected(process: Process) -> None:
    arrival = ARRIVAL.model_copy(update={"sha256": "f" * 64})

    outcome = process(HILLS, arrival)

    assert outcome["outcome"] == "rejected"
    assert outcome["reason"].startswith("checksum_mismatch: ")
    assert _record(outcome).sha256 == hashlib.sha256(HILLS.content).hexdigest()


def test_an_image_over_the_limit_is_rejected(process: Process, give_pipelines: GivePipelines) -> None:
    give_pipelines(limits={"max_bytes": len(HILLS.content) - 1})

    assert process(HILLS)["reason"].startswith("too_many_bytes: ")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("max_pixels", "too_many_pixels"), ("max_total_pixels", "too_many_pixels"), ("max_side", "side_too_long")],
)
def test_an_image_that_a_task_would_take_is_rejected_with_the_name_of_the_parameter(
    limit: str, code: str, process: Process, give_pipelines: GivePipelines
) -> None:
    give_pipelines(limits={limit: 1000})

    reason = process(HILLS)["reason"]

    assert reason.startswith(f"{code}: ")
    assert reason.endswith("; enable large images (parameter LargeImageTag) to accept it")


def test_a_large_image_is_left_to_the_task_where_there_is_one(
    process: Process, give_pipelines: GivePipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_pipelines(limits={"max_pixels": 1000})
    monkeypatch.setenv("LARGE_IMAGES", "true")

    assert process(HILLS) == {"outcome": "large"}
    assert _derivatives() == {}


@pytest.mark.parametrize("large_images", ["true", "false"])
def test_an_image_that_is_too_large_for_the_task_as_well_is_rejected_as_ever(
    large_images: str, process: Process, give_pipelines: GivePipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_IMAGES", large_images)
    give_pipelines(limits={"max_pixels": 1000}, large_limits={"max_pixels": 2000})

    reason = process(HILLS)["reason"]

    assert reason.startswith("too_many_pixels: ")
    assert reason.endswith("the limit is 1000")


@pytest.mark.parametrize(
    ("call", "code", "fault"),
    [
        ("get_object", "AccessDenied", "AccessDenied on GetObject"),
        ("get_object", "SlowDown", "SlowDown on GetObject"),
        ("put_object", "AccessDenied", "AccessDenied on PutObject"),
    ],
)
def test_a_refusal_of_s3_is_a_fault_with_code_and_operation(
    call: str, code: str, fault: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(NOTES)
    stubbed = Stubber(buckets.s3_client())
    if call == "put_object":  # the picture is read before
        picture = buckets.RawObject(HILLS.content, HILLS.content_type, datetime.now(UTC), ARRIVAL)
        monkeypatch.setattr(Bucket, "read_image", lambda *_: picture)
    stubbed.add_client_error(call, code, "private-holiday.jpg")

    with stubbed, pytest.raises(Fault) as raised:
        process(HILLS)

    assert str(raised.value) == fault


def test_s3_out_of_reach_is_a_fault(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3.amazonaws.com")

    monkeypatch.setattr(buckets.s3_client(), "put_object", unreachable)

    with pytest.raises(Fault, match=r"^EndpointConnectionError on PutObject$"):
        process(HILLS)


def test_runs_the_scripts_of_the_pipeline_with_its_parameters(process: Process, give_pipelines: GivePipelines) -> None:
    give_pipelines(default={"scripts": ["redact"], "params": {"redact": {"max_side": 100}}})

    record = _record(process(HILLS))

    assert record.script == "redact"
    assert [max(made.width, made.height) for made in record.derivatives] == [100]


PERSONAL = ("private-holiday", "filename", "north face", "7d8e2f10-ada", "33.85", "151.21", "Pocket")


@pytest.mark.parametrize("sample", [HARBOUR, NOTES], ids=["processed", "rejected"])
def test_logs_no_personal_data(sample: Sample, process: Process, logs: StringIO) -> None:
    process(sample)

    entry = json.loads(logs.getvalue())
    assert entry["message"] == f"image {sample.status}"
    assert entry["key"] == str(KEY)
    assert not [word for word in PERSONAL if word in logs.getvalue()]


def test_what_is_raised_over_metadata_repeats_none_of_it(process: Process) -> None:
    unfit = Arrival.model_construct(source="two words", tags={"filename": "private-holiday.jpg"})

    with pytest.raises(Fault, match=r"ValidationError at model\.py") as raised:
        process(HILLS, unfit)

    assert "two words" not in str(raised.value)
    assert "private-holiday" not in str(raised.value)
