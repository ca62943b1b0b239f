"""What a caller is shown of an image."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from imagelake.keys import Partition, RawKey
from imagelake.model import BOOKKEEPING
from imagelake.settings import HttpApiSettings
from imagelake.stores import buckets
from imagelake.values import to_iso

_SHOWN_APART: Final = {
    "image_id", "status", "source", "received_at", "expires_at", "derivatives", "reason",
    "uploader", "ingest_date", "hour", *BOOKKEEPING,
}  # fmt: skip


def show(items: Sequence[Mapping[str, Any]], settings: HttpApiSettings) -> list[dict[str, Any]]:
    """Items of the images table as the API shows them.

    An upload that is awaited is `processing` once its object has arrived; links to derivatives are good for
    `object_store.LINK_SECONDS`.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    awaited = [_raw_key(item) for item in items if item["status"] == "awaiting_upload"]
    arrived = buckets.existing(settings.raw_bucket, awaited)
    return [_show(item, arrived, settings) for item in items]


def _show(item: Mapping[str, Any], arrived: set[str], settings: HttpApiSettings) -> dict[str, Any]:
    is_processing = item["status"] == "awaiting_upload" and _raw_key(item) in arrived
    metadata = {name: value for name, value in item.items() if name not in _SHOWN_APART}
    if "script_output" in metadata:
        metadata["script_output"] = json.loads(metadata["script_output"])
    shown = {
        "image_id": item["image_id"],
        "status": "processing" if is_processing else item["status"],
        "source": item.get("source"),
        "received_at": item["received_at"],
        "expires_at": to_iso(datetime.fromtimestamp(int(item["expires_at"]), UTC)),
        "metadata": metadata,
        "derivatives": [
            {
                "name": derivative["name"],
                "url": buckets.link(settings.lake_bucket, derivative["key"]),
                "width": derivative["width"],
                "height": derivative["height"],
                "content_type": derivative["content_type"],
            }
            for derivative in item.get("derivatives", ())
        ],
    }
    return shown | ({"reason": item["reason"]} if "reason" in item else {})


def _raw_key(item: Mapping[str, Any]) -> str:
    return str(RawKey(Partition(item["ingest_date"], item["hour"]), item["image_id"]))
