"""What a caller is shown of an image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from imagelake.api.callers import Caller, Reach
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import BOOKKEEPING
from imagelake.stores.buckets import Bucket
from imagelake.stores.images_table import ImagesTable
from imagelake.values import to_iso

MAX_ID: Final = 64
"""Characters of an image_id that a request may name; ids have fewer."""

_SHOWN_APART: Final = {
    "image_id", "status", "source", "received_at", "expires_at", "derivatives", "reason",
    "uploader", "ingest_date", "hour", *BOOKKEEPING,
}  # fmt: skip


@dataclass(frozen=True)
class ShownImages:
    """The images of a stack, as the API shows them."""

    raw_bucket: Bucket
    lake_bucket: Bucket
    images_table: ImagesTable

    def find(self, image_id: str, caller: Caller) -> dict[str, Any] | None:
        """One image within the caller's reach, or None when it is unknown, expired, erased or out of it.

        Raises:
            Fault: DynamoDB or S3 did not answer, or denied access.
        """
        item = self.images_table.get(image_id)
        if item is None or not caller.may_see(item.get("uploader")):
            return None
        return self.show([item], caller)[0]

    def show(self, items: Sequence[Mapping[str, Any]], caller: Caller) -> list[dict[str, Any]]:
        """Items of the images table as the API shows them.

        An upload that is awaited is `processing` once its object has arrived; links to derivatives are good for
        `buckets.LINK_SECONDS`. Who sees images of others sees whose they are.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        awaited = [_raw_key(item) for item in items if item["status"] == "awaiting_upload"]
        arrived = self.raw_bucket.existing(awaited)
        shown = [self._show(item, arrived) for item in items]
        if caller.reach is Reach.ANY:
            return [one | {"uploader": item.get("uploader")} for one, item in zip(shown, items, strict=True)]
        return shown

    def _show(self, item: Mapping[str, Any], arrived: set[str]) -> dict[str, Any]:
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
                    "url": self.lake_bucket.link(derivative["key"]),
                    "width": derivative["width"],
                    "height": derivative["height"],
                    "content_type": derivative["content_type"],
                }
                for derivative in item.get("derivatives", ())
            ],
        }
        return shown | ({"reason": item["reason"]} if "reason" in item else {})


def _raw_key(item: Mapping[str, Any]) -> str:
    return str(RawKey(ArrivalHour(item["ingest_date"], item["hour"]), item["image_id"]))
