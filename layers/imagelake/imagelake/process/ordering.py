"""What the engine is asked to do with one image: an order, with two signed requests, good for that image only."""

from dataclasses import dataclass, replace
from typing import Any, Final

from imagelake import pipelines
from imagelake.engine.contract import MAX_ANSWER_BYTES, EngineOrder, Form
from imagelake.engine.limits import Limits
from imagelake.process.facts import ImageFacts, Ordered
from imagelake.stores.buckets import Bucket

ORDER_SECONDS: Final = 900
"""How long the requests that the function gets are good for. Credentials that end earlier end them, too."""
TASK_ORDER_SECONDS: Final = 1800
"""The same for the task, which has to start first."""
SCRIPT_SECONDS: Final = 35.0
"""For the scripts of one image in the function."""
TASK_SCRIPT_SECONDS: Final = 600.0
"""For the scripts of one image in the task."""


@dataclass(frozen=True)
class Ordering:
    """How a stack orders; `large_images` says whether it has a task for images over the limits."""

    lake_bucket: Bucket
    accept_heif: bool
    large_images: bool

    def of_function(self) -> Ordered:
        """What an order for the function asks for."""
        return self._ordered(pipelines.load().limits)

    def for_function(self, facts: ImageFacts, image_url: str) -> EngineOrder:
        """The order of an image that is read at `image_url`, good for `ORDER_SECONDS`."""
        return self._signed(
            facts,
            image_url,
            ORDER_SECONDS,
            self.of_function(),
            large_limits=pipelines.load().large_limits,
            has_task=self.large_images,
            seconds=SCRIPT_SECONDS,
        )

    def for_task(self, facts: ImageFacts, image_url: str) -> str:
        """Store the order, which is too long for the start of a task and would stay on its record, and sign its URL.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        ordered = self._ordered(pipelines.load().large_limits)
        metadata = {Ordered.METADATA: ordered.model_dump_json(ensure_ascii=True)}
        result = self.lake_bucket.upload_form(
            facts.version.result, "application/json", (1, MAX_ANSWER_BYTES), metadata, None, TASK_ORDER_SECONDS
        )
        order = self._signed(
            facts,
            image_url,
            TASK_ORDER_SECONDS,
            ordered,
            result=Form.model_validate(result),
            seconds=TASK_SCRIPT_SECONDS,
        )
        place = facts.version.order
        self.lake_bucket.overwrite(place, order.model_dump_json().encode(), "application/json")
        return self.lake_bucket.link(place, seconds=TASK_ORDER_SECONDS)

    def _signed(self, facts: ImageFacts, image_url: str, expire: int, ordered: Ordered, **rest: Any) -> EngineOrder:
        prefix = facts.version.prefix
        form = self.lake_bucket.folder_form(prefix, "image/", ordered.limits.max_output_bytes, expire)
        return EngineOrder(
            image_url=image_url,
            form=Form.model_validate(form),
            prefix=prefix,
            bytes=facts.bytes,
            sha256=facts.sha256,
            limits=ordered.limits,
            scripts=ordered.scripts,
            params=pipelines.load().default.params,
            **rest,
        )

    def _ordered(self, limits: Limits) -> Ordered:
        accepted = replace(limits, formats=(*limits.formats, "HEIF")) if self.accept_heif else limits
        return Ordered(scripts=pipelines.load().default.scripts, limits=accepted)
