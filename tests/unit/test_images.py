"""What a caller is shown of an item of the images table."""

from typing import Any

import pytest

from imagelake.api.callers import Caller, Reach
from imagelake.api.images import ShownImages
from imagelake.stores.buckets import Bucket
from imagelake.stores.images_table import ImagesTable

SETTINGS = ShownImages(Bucket("raw"), Bucket("lake"), ImagesTable("images"))
IMAGE_ID = "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"
PLACE = f"ingest_date=2026-11-22/hour=09/{IMAGE_ID}"
AWAITED: dict[str, Any] = {
    "image_id": IMAGE_ID,
    "status": "awaiting_upload",
    "source": "api",
    "uploader": "ada",
    "received_at": "2026-11-22T09:30:15.250Z",
    "expires_at": 1_795_944_615,
    "content_type": "image/jpeg",
    "ingest_date": "2026-11-22",
    "hour": "09",
}
PROCESSED = AWAITED | {
    "status": "processed",
    "width": 1600,
    "gps_lat": 52.5163,
    "tags": {"filename": "hills.jpg"},
    "script_output": '{"describe": {"answer": 42}}',
    "derivatives": [
        {
            "key": f"derived/{PLACE}/thumb_256.jpg",
            "name": "thumb_256",
            "width": 256,
            "height": 171,
            "content_type": "image/jpeg",
        }
    ],
}


@pytest.fixture(autouse=True)
def arrived(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The raw objects that are there; a test may add one."""
    keys: set[str] = set()
    monkeypatch.setattr(Bucket, "existing", lambda _, wanted: keys & set(wanted))
    monkeypatch.setattr(Bucket, "link", lambda bucket, key: f"https://{bucket.name}/{key}?signed")
    return keys


def _show(item: dict[str, Any]) -> dict[str, Any]:
    return SETTINGS.show([item], Caller("ada", Reach.OWN))[0]


def test_shows_a_processed_image_as_the_contract_has_it() -> None:
    assert _show(PROCESSED) == {
        "image_id": IMAGE_ID,
        "status": "processed",
        "source": "api",
        "received_at": "2026-11-22T09:30:15.250Z",
        "expires_at": "2026-11-29T09:30:15.000Z",
        "metadata": {
            "content_type": "image/jpeg",
            "width": 1600,
            "gps_lat": 52.5163,
            "tags": {"filename": "hills.jpg"},
            "script_output": {"describe": {"answer": 42}},
        },
        "derivatives": [
            {
                "name": "thumb_256",
                "url": f"https://lake/derived/{PLACE}/thumb_256.jpg?signed",
                "width": 256,
                "height": 171,
                "content_type": "image/jpeg",
            }
        ],
    }


def test_an_awaited_upload_is_processing_once_it_has_arrived(arrived: set[str]) -> None:
    assert _show(AWAITED)["status"] == "awaiting_upload"

    arrived.add(f"raw/{PLACE}")

    assert _show(AWAITED)["status"] == "processing"


def test_an_image_that_went_through_is_not_processing_again(arrived: set[str]) -> None:
    arrived.add(f"raw/{PLACE}")

    assert _show(PROCESSED)["status"] == "processed"


def test_says_why_an_image_was_rejected() -> None:
    shown = _show(AWAITED | {"status": "rejected", "reason": "not_an_image: the bytes are not those of an image"})

    assert shown["reason"].startswith("not_an_image: ")
    assert shown["derivatives"] == []


def test_keeps_the_caller_s_subject_and_the_layout_of_the_stores_to_itself() -> None:
    shown = str(_show(PROCESSED)["metadata"])

    assert not any(name in shown for name in ("uploader", "ada", "ingest_date", "hour"))
