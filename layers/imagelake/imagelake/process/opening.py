"""Before the engine: which version of an image counts, whether anything is to be done with it, and what that takes.

The first version of an object wins: a form that is used twice, or an object that an operator copies onto itself, makes
later ones, which are neither processed nor served. Nothing here reads a byte of an image.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from imagelake.engine.contract import EngineOrder
from imagelake.keys import ImageVersion, RawKey
from imagelake.process.facts import ImageFacts
from imagelake.process.ordering import ORDER_SECONDS, TASK_ORDER_SECONDS, Ordering
from imagelake.stores.buckets import Bucket, RawObject
from imagelake.stores.images_table import ImagesTable


class ObjectCreated(BaseModel):
    """A new object: an image, or what the task for large images says of one.

    Args:
        key: of the object.
        version_id: as the event or the operator names it; it only tells later versions from the first.
        for_task: whether the order is for the task.
        execution: ARN of the workflow's execution, for the log: the workflow's own names no image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    version_id: str | None = None
    for_task: bool = False
    execution: str | None = None


class Opened(BaseModel):
    """What is to be done with an image.

    `open`: the engine gets `order`, or the task `order_url`. `collect`: the task has an answer. `duplicate`: it has an
    outcome already. `erased`: it was erased on request, and has come back. `gone`: there is no such object any more,
    its days are over, or it was put by hand under an hour that had not begun.
    """

    model_config = ConfigDict(frozen=True)

    decision: Literal["open", "collect", "duplicate", "erased", "gone"]
    facts: ImageFacts | None = None
    order: EngineOrder | None = None
    order_url: str | None = None


@dataclass(frozen=True)
class Opening:
    """How a stack opens images."""

    raw_bucket: Bucket
    images_table: ImagesTable
    retention_days: int
    ordering: Ordering

    def open(self, created: ObjectCreated) -> tuple[Opened, bool]:
        """Decide what is to be done with an image, and sign what that takes.

        Returns:
            The decision, and whether the object is a later version, which does not count.

        Raises:
            InvalidKeyError: the key is not one of a raw image or a result.
            Fault: a service did not answer, or denied access.
        """
        is_result = not created.key.startswith("raw/")
        key, result_version = ImageVersion.parse_result(created.key) if is_result else (RawKey.parse(created.key), None)
        standing = self.images_table.standing(key.image_id)
        if standing and standing.status == "erased":
            return Opened(decision="erased"), False
        if standing and not standing.admits(key.hour):
            return Opened(decision="duplicate"), _is_later(created, standing.version_id)
        first = self.raw_bucket.first_version(str(key))
        version_id = first.version_id if first else None
        if version_id is None or (result_version is not None and result_version != quote(version_id, safe="")):
            return Opened(decision="gone"), False
        raw = self.raw_bucket.describe(str(key), version_id)
        attempts = standing.attempts if standing else 0
        facts = self._facts(key, raw, attempts, by_task=is_result)
        if key.hour.is_ahead_of(raw.received_at) or facts.expires_at <= datetime.now(UTC):
            return Opened(decision="gone"), False
        if is_result:
            return Opened(decision="collect", facts=facts), False
        is_later = not created.for_task and _is_later(created, version_id)
        if created.for_task:
            order_url = self.ordering.for_task(facts, self._url(facts, TASK_ORDER_SECONDS))
            return Opened(decision="open", facts=facts, order_url=order_url), is_later
        order = self.ordering.for_function(facts, self._url(facts, ORDER_SECONDS))
        return Opened(decision="open", facts=facts, order=order), is_later

    def _facts(self, key: RawKey, raw: RawObject, attempts: int, *, by_task: bool) -> ImageFacts:
        received_at = key.hour.arrival(raw.received_at)
        return ImageFacts(
            image_id=key.image_id,
            ingest_date=key.hour.ingest_date,
            hour=key.hour.hour,
            version_id=raw.version_id,
            **raw.arrival.model_dump(),
            content_type=raw.content_type,
            bytes=raw.bytes,
            received_at=received_at,
            opened_at=datetime.now(UTC),
            expires_at=received_at + timedelta(days=self.retention_days),
            attempts=attempts + by_task,
            has_task=self.ordering.large_images,
            by_task=by_task,
            ordered=None if by_task else self.ordering.of_function(),
        )

    def _url(self, facts: ImageFacts, seconds: int) -> str:
        return self.raw_bucket.link(str(facts.version.key), facts.version_id, seconds)


def _is_later(created: ObjectCreated, counted: str | None) -> bool:
    return None not in (created.version_id, counted) and created.version_id != counted
