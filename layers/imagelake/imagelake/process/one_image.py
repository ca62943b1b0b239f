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

from imagelake.engine import guard, runner
from imagelake.engine.limits import Limits
from imagelake.engine.reason import Reason
from imagelake.engine.runner import Script
from imagelake.errors import Rejection, SettingsError
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
    """How a stack processes images.

    `processing_scripts` is a comma-separated chain of script names; `script_params` a JSON object, script name to
    parameters. `large_images` says whether there is a task for images over these limits, `large_max_image_pixels`, of
    all frames, and `large_max_image_side` what it takes.
    """

    lake_bucket: Bucket
    max_image_bytes: int
    retention_days: int
    processing_scripts: str
    script_params: str
    accept_heif: bool
    max_image_pixels: int
    max_image_side: int
    max_image_frames: int
    max_total_pixels: int
    max_image_scans: int
    script_memory_mb: int
    large_images: bool
    large_max_image_pixels: int
    large_max_image_side: int

    def process(self, image: ImageArrived, seconds: float) -> Outcome:
        """Process one image, in at most `seconds`.

        Raises:
            InvalidKeyError: the key is not one of a raw image.
            Fault: S3 did not answer, or denied access.
        """
        key = RawKey.parse(image.key)
        raw = Bucket(image.bucket).read_image(image.key, image.version_id)
        if raw is None or raw.received_at + timedelta(days=self.retention_days) <= datetime.now(UTC):
            return Outcome(outcome="gone")
        facts = self._facts(key, raw)
        try:
            _check_content(raw, facts["sha256"])
            scripts = runner.find_scripts(self.processing_scripts.split(","))
            facts |= _versions(scripts)
            return _outcome("processed", facts | self._run_scripts(key, raw, scripts, seconds))
        except Rejection as rejection:
            reason = str(rejection)
            if rejection.code in TOO_LARGE and self._fits_a_task(raw.content):
                if self.large_images:
                    return Outcome(outcome="large")
                reason += "; the parameter LargeImages would have it taken"
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

    def _run_scripts(self, key: RawKey, raw: RawObject, scripts: Sequence[Script], seconds: float) -> dict[str, Any]:
        """The columns that scripts and engine fill; their derivatives are stored."""
        result = runner.run_scripts(raw.content, scripts, self._script_params(), self._limits(), seconds)
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

    def _limits(self) -> Limits:
        return Limits(
            max_bytes=self.max_image_bytes,
            max_pixels=self.max_image_pixels,
            max_side=self.max_image_side,
            max_frames=self.max_image_frames,
            max_total_pixels=self.max_total_pixels,
            max_scans=self.max_image_scans,
            memory_mb=self.script_memory_mb,
            formats=(*Limits.formats, "HEIF") if self.accept_heif else Limits.formats,
        )

    def _fits_a_task(self, content: bytes) -> bool:
        """Whether the limits of the task for large images allow what these do not; in the task, they are the same."""
        larger = replace(
            self._limits(),
            max_pixels=self.large_max_image_pixels,
            max_total_pixels=self.large_max_image_pixels,
            max_side=self.large_max_image_side,
        )
        try:
            guard.inspect(content, larger)
        except Rejection:
            return False
        return True

    def _script_params(self) -> dict[str, dict[str, Any]]:
        try:
            params = json.loads(self.script_params)
        except ValueError:
            params = None
        if not isinstance(params, dict) or not all(isinstance(values, dict) for values in params.values()):
            raise SettingsError("SCRIPT_PARAMS must be a JSON object of objects, by script name")
        return params


def _check_content(raw: RawObject, sha256: str) -> None:
    if raw.arrival.sha256 not in (None, sha256):
        raise Rejection("checksum_mismatch", "the file does not have the SHA-256 that its sender gave")


def _versions(scripts: Sequence[Script]) -> dict[str, str]:
    return {
        "script": ",".join(script.name for script in scripts),
        "script_version": ",".join(script.version for script in scripts),
    }


def _outcome(status: Literal["processed", "rejected"], facts: dict[str, Any]) -> Outcome:
    record = ImageRecord.model_validate(facts | {"status": status, "processed_at": datetime.now(UTC)})
    return Outcome(outcome=status, item=serialize(record.to_item()), reason=record.reason)
