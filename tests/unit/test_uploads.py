"""What a caller may ask for, and the identifier an image gets."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imagelake import settings
from imagelake.api import uploads
from imagelake.api.uploads import MAX_BATCH, UploadBatch, UploadRequest
from imagelake.model import CONTENT_TYPES, MAX_TAGS
from tests.conftest import GivePipelines

MAX_BYTES = 25_000_000
JPEG: dict[str, Any] = {"content_type": "image/jpeg"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, give_pipelines: GivePipelines) -> None:
    give_pipelines(limits={"max_bytes": MAX_BYTES})
    for name in ("RAW_BUCKET", "LAKE_BUCKET", "IMAGES_TABLE"):
        monkeypatch.setenv(name, "a-name")
    monkeypatch.setenv("ACCEPT_HEIF", "false")


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_accepts_every_supported_content_type(content_type: str) -> None:
    assert UploadRequest.model_validate({"content_type": content_type}).content_type == content_type


@pytest.mark.parametrize("bytes_", [1, MAX_BYTES])
def test_accepts_a_size_up_to_the_limit(bytes_: int) -> None:
    assert UploadRequest.model_validate(JPEG | {"content_length": bytes_}).content_length == bytes_


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("content_type", "image/svg+xml"),
        ("content_type", "IMAGE/JPEG"),
        ("content_type", "image/jpeg; q=1"),
        ("content_type", ""),
        ("content_type", None),
        ("content_type", ["image/jpeg"]),
        ("content_length", 0),
        ("content_length", -1),
        ("content_length", MAX_BYTES + 1),
        ("content_length", "284113"),
        ("content_length", 1.0),
        ("content_length", True),
        ("sha256", "f" * 63),
        ("sha256", "g" * 64),
        ("sha256", "f" * 64 + "\n"),
        ("sha256", 64),
        ("filename", ""),
        ("filename", "f" * 256),
        ("filename", 7),
        ("tags", {"note": 1}),
        ("tags", ["note"]),
        ("tags", {str(number): "" for number in range(MAX_TAGS + 1)}),
        ("tags", {str(number): "v" * 250 for number in range(5)}),
        ("tags", {"note": "\ud800"}),
        ("key", "raw/mine"),
        ("image_id", "mine"),
    ],
)
def test_rejects_a_request_and_names_the_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as invalid:
        UploadRequest.model_validate(JPEG | {field: value})

    assert {error["loc"][0] for error in invalid.value.errors()} == {field}


def test_needs_a_content_type() -> None:
    with pytest.raises(ValidationError, match=r"content_type\n +Field required"):
        UploadRequest.model_validate({})


def test_keeps_the_filename_as_a_tag() -> None:
    request = UploadRequest.model_validate(JPEG | {"filename": "hills.jpg", "tags": {"trip": "north"}})

    assert request.all_tags == {"filename": "hills.jpg", "trip": "north"}


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "hills.jpg", "tags": {"filename": "other.jpg"}},
        {"filename": "ü" * 255},
        {"filename": "hills.jpg", "tags": {str(number): "v" * 246 for number in range(4)}},
    ],
)
def test_rejects_a_filename_that_does_not_fit_among_the_tags(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UploadRequest.model_validate(JPEG | change)


def test_takes_a_batch_of_1_to_100_uploads() -> None:
    assert len(UploadBatch.model_validate({"uploads": [JPEG] * MAX_BATCH}).uploads) == 100
    for uploads_ in ([], [JPEG] * (MAX_BATCH + 1)):
        with pytest.raises(ValidationError) as invalid:
            UploadBatch.model_validate({"uploads": uploads_})
        assert [error["loc"] for error in invalid.value.errors()] == [("uploads",)]


def test_a_batch_has_nothing_beside_its_uploads() -> None:
    with pytest.raises(ValidationError) as invalid:
        UploadBatch.model_validate({"uploads": [JPEG], "content_type": "image/jpeg"})

    assert [error["loc"] for error in invalid.value.errors()] == [("content_type",)]


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC)))  # noqa: DTZ001  # Hypothesis wants naive bounds
def test_an_image_id_is_a_uuid_of_version_7_that_holds_the_time(now: datetime) -> None:
    image_id = uploads._uuid7(now)

    assert (image_id.version, image_id.variant) == (7, uuid.RFC_4122)
    assert image_id.int >> 80 == int(now.timestamp() * 1000)
    assert str(image_id) == str(uuid.UUID(str(image_id)))


def test_image_ids_of_the_same_moment_differ_and_those_of_later_ones_sort_after() -> None:
    now = datetime.now(UTC)
    same = {uploads._uuid7(now) for _ in range(1000)}

    assert len(same) == 1000
    assert max(same) < uploads._uuid7(now + timedelta(milliseconds=1))


def test_accepts_heic_only_where_the_stack_can_decode_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        UploadRequest.model_validate({"content_type": "image/heic"})

    monkeypatch.setenv("ACCEPT_HEIF", "true")
    settings.forget()

    assert UploadRequest.model_validate({"content_type": "image/heic"}).content_type == "image/heic"
