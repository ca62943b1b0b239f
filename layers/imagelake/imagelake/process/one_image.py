"""Processing one image: read it, run the provided scripts, store the derivatives, say what became of it.

A rejected image is a result; what is raised is a fault, and another try may help.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from imagelake import pipelines
from imagelake.engine import guard, runner
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.runner import Script
from imagelake.errors import Rejection
from imagelake.keys import RawKey
from imagelake.model import Derivative, ImageRecord
from imagelake.stores.buckets import Bucket, RawObject
from imagelake.stores.images_table import serialize

TOO_LARGE: Final = frozenset({Reason.TOO_MANY_PIXELS, Reason.SIDE_TOO_LONG})
"""Rejections of what a task with more memory may take."""


class ImageArrived(BaseModel):
    """What the workflow says of a new object in the raw bucket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str
    key: Annotated[str, StringConstraints(pattern=r"^raw/")]
    version_id: str | None = None


class Outcome(BaseModel):
    """What the workflow is told: the item to catalog, in DynamoDB's JSON, and for a rejected image why.

    An image that is `gone` has been erased, or its days are over: there is nothing to catalog. One that is `large` is
    for the task of `large_image`.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Literal["processed", "rejected", "large", "gone"]
    item: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ImageProcessing:
    """How a stack processes images; `large_images` says whether it has a task for those over the limits."""

    lake_bucket: Bucket
    retention_days: int
    accept_heif: bool
    large_images: bool

    def process(self, image: ImageArrived, limits: Limits, seconds: float) -> Outcome:
        """Process one image within `limits`, in at most `seconds`.

        Raises:
            InvalidKeyError: the key is not one of a raw image.
            Fault: S3 did not answer, or denied access.
        """
        key = RawKey.parse(image.key)
        raw = Bucket(image.bucket).read_image(image.key, image.version_id)
        if raw is None or raw.received_at + timedelta(days=self.retention_days) <= datetime.now(UTC):
            return Outcome(outcome="gone")
        facts = self._facts(key, raw)
        if self.accept_heif:
            limits = replace(limits, formats=(*limits.formats, "HEIF"))
        try:
            _check_content(raw, facts["sha256"])
            scripts = runner.find_scripts(pipelines.load().default.scripts)
            facts |= _versions(scripts)
            return _outcome("processed", facts | self._run_scripts(key, raw, scripts, limits, seconds))
        except Rejection as rejection:
            reason = str(rejection)
            if rejection.code in TOO_LARGE and _fits_a_task(raw.content, limits):
                if self.large_images:
                    return Outcome(outcome="large")
                reason += "; enable large images (parameter LargeImageTag) to accept it"
            return _outcome("rejected", facts | {"reason": reason})

    def _facts(self, key: RawKey, raw: RawObject) -> dict[str, Any]:
        """The columns that are known before the file is opened."""
        received_at = key.hour.arrival(raw.received_at)
        return {
            "image_id": key.image_id,
            **raw.arrival.model_dump(exclude={"sha256"}),
            "received_at": received_at,
            "expires_at": received_at + timedelta(days=self.retention_days),
            "sha256": hashlib.sha256(raw.content).hexdigest(),
            "bytes": len(raw.content),
            "content_type": raw.content_type,
            "ingest_date": key.hour.ingest_date,
            "hour": key.hour.hour,
        }

    def _run_scripts(
        self, key: RawKey, raw: RawObject, scripts: Sequence[Script], limits: Limits, seconds: float
    ) -> dict[str, Any]:
        """The columns that scripts and engine fill; their derivatives are stored."""
        result = runner.run_scripts(raw.content, scripts, pipelines.load().default.params, limits, seconds)
        derivatives = []
        for made in result.derivatives:
            target = key.derived(made.name, made.extension)
            self.lake_bucket.store_once(target, made.content, made.content_type)
            derivatives.append(
                Derivative(
                    key=target, name=made.name, width=made.width, height=made.height, content_type=made.content_type
                )
            )
        return {**result.columns, "script_output": json.dumps(result.script_output), "derivatives": derivatives}


def _check_content(raw: RawObject, sha256: str) -> None:
    if raw.arrival.sha256 not in (None, sha256):
        raise Rejection("checksum_mismatch", "the file does not have the SHA-256 that its sender gave")


def _versions(scripts: Sequence[Script]) -> dict[str, str]:
    return {
        "script": ",".join(script.name for script in scripts),
        "script_version": ",".join(script.version for script in scripts),
    }


def _fits_a_task(content: bytes, limits: Limits) -> bool:
    """Whether an image that is over `limits` is within those of the task for large images; in the task it never is."""
    try:
        guard.inspect(content, replace(pipelines.load().large_limits, formats=limits.formats))
    except Rejection:
        return False
    return True


def _outcome(status: Literal["processed", "rejected"], facts: dict[str, Any]) -> Outcome:
    record = ImageRecord.model_validate(facts | {"status": status, "processed_at": datetime.now(UTC)})
    return Outcome(outcome=status, item=serialize(record.to_item()), reason=record.reason)
