"""Before images go through a release: built-in pictures go through its version of `process_image`, as images would.

The orders are those of the workflow, and the answers are believed by the rules of `closing`. What is stored meanwhile
is in the lake bucket, under the hour, in a folder of an image that there is not; no item, row or event is made.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import Final, Literal

from aws_lambda_powertools import Logger

from imagelake.engine.contract import Rejected
from imagelake.engine.reason_codes import OF_THE_FILE
from imagelake.errors import Fault, UnfitReleaseError
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.process.facts import ImageFacts
from imagelake.process.ordering import ORDER_SECONDS, Ordering
from imagelake.stores.functions import Function, FunctionFault

PAUSES: Final = (2.0, 4.0, 8.0)
"""Seconds before each further try of a picture, after a fault: the workflow would try again, too."""
LATER_PAUSE: Final = 15.0
"""Seconds before each try after those. A function that ends with an error has no more, for others would end so, too."""
SOURCE: Final = "rehearsal"

_PICTURES: Final = Path(__file__).with_name("pictures")

logger = Logger(child=True)


@dataclass(frozen=True)
class Picture:
    """A file, and the outcome of an image of these bytes."""

    name: str
    content: bytes
    content_type: str
    outcome: Literal["processed", "rejected"]


def pictures() -> tuple[Picture, ...]:
    """A photograph that lies on its side, a drawing with transparency, and half of the photograph."""
    photograph = (_PICTURES / "photograph.jpg").read_bytes()
    drawing = (_PICTURES / "drawing.png").read_bytes()
    return (
        Picture("photograph.jpg", photograph, "image/jpeg", "processed"),
        Picture("drawing.png", drawing, "image/png", "processed"),
        Picture("broken.jpg", photograph[: len(photograph) // 2], "image/jpeg", "rejected"),
    )


@dataclass(frozen=True)
class Rehearsal:
    """How a stack orders images, which is how its rehearsal does."""

    ordering: Ordering

    def rehearse(self, version: Function, seconds: float) -> None:
        """Put all pictures through a version of `process_image`; begin no try after `seconds`.

        Raises:
            UnfitReleaseError: a picture did not end as it should; names the picture and the reason.
        """
        deadline = time.monotonic() + seconds
        for picture in pictures():
            self._pass(picture, version, deadline)

    def _pass(self, picture: Picture, version: Function, deadline: float) -> None:
        for tried, pause in enumerate(chain(PAUSES, repeat(LATER_PAUSE))):
            try:
                self._try(picture, version)
            except Fault as fault:
                is_its_own = isinstance(fault, FunctionFault) and tried == len(PAUSES)
                if is_its_own or time.monotonic() + pause > deadline:
                    raise UnfitReleaseError(f"{picture.name} ended with a fault: {fault}") from None
                logger.warning("picture tried again", extra={"picture": picture.name, "reason": str(fault)})
                time.sleep(pause)
            else:
                return

    def _try(self, picture: Picture, version: Function) -> None:
        facts, bucket = self._facts(picture), self.ordering.lake_bucket
        key = facts.version.rehearsed
        try:
            bucket.overwrite(key, picture.content, picture.content_type)
            order = self.ordering.for_function(facts, bucket.link(key, seconds=ORDER_SECONDS))
            answered = version.call(order.model_dump(mode="json"))
            closed, answer = Closing(bucket).close(EngineAnswered(facts=facts, answer=answered))
        finally:
            self._tidy(facts.version.prefix)
        if closed.outcome != picture.outcome:
            raise UnfitReleaseError(f"{picture.name} was {closed.outcome}, not {picture.outcome}: {closed.reason}")
        if closed.outcome == "rejected" and not (isinstance(answer, Rejected) and answer.code in OF_THE_FILE):
            raise UnfitReleaseError(f"{picture.name} was rejected for another reason than its own: {closed.reason}")

    def _tidy(self, prefix: str) -> None:
        """What cannot be deleted now goes with its hour, and does not keep back a release."""
        bucket = self.ordering.lake_bucket
        try:
            bucket.delete(bucket.keys(prefix))
        except Fault as fault:
            logger.warning("pictures of the rehearsal left behind", extra={"prefix": prefix, "reason": str(fault)})

    def _facts(self, picture: Picture) -> ImageFacts:
        now = datetime.now(UTC)
        version = ImageVersion.of_rehearsal(RawKey(ArrivalHour.of(now), str(uuid.uuid4())))
        return ImageFacts(
            image_id=version.key.image_id,
            ingest_date=version.key.hour.ingest_date,
            hour=version.key.hour.hour,
            version_id=version.version_id,
            source=SOURCE,
            tags={},
            content_type=picture.content_type,
            bytes=len(picture.content),
            received_at=now,
            expires_at=now + timedelta(days=1),  # of an item that is not stored
            has_task=self.ordering.large_images,
            by_task=False,
            ordered=self.ordering.of_function(),
        )
