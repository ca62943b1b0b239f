"""What trusted code knows of an image: decided before the engine sees a byte, kept by the workflow meanwhile."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from imagelake.engine.limits import Limits
from imagelake.keys import ArrivalHour, ImageVersion, RawKey
from imagelake.model import Tags
from imagelake.values import Moment


class Ordered(BaseModel):
    """What an order asks for, as far as the answer to it is checked against it: names of scripts, and limits.

    A deployment may change both while an image is processed. The task for large images stores its answer with a form
    that is signed for this as the `METADATA` of the object, so it comes back with the answer and cannot be changed.
    """

    METADATA: ClassVar = "ordered"

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scripts: tuple[str, ...]
    limits: Limits


class ImageFacts(BaseModel):
    """An image as S3, its key and its sender describe it. The engine neither reads nor changes any of it.

    `opened_at` is when the workflow began with it, and `attempts` how often it had been tried before; the function's
    try counts for the task. `sha256` is what the sender says the file hashes to. `has_task` says that the stack takes
    large images, and `by_task` that the answer is an object, the `result` of the task for them. `ordered` is what the
    function was asked for, and None of a task, whose result says it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    image_id: str
    ingest_date: str
    hour: str
    version_id: str
    source: str
    source_ref: str | None = None
    uploader: str | None = None
    tenant: str | None = None
    tags: Tags
    content_type: str
    bytes: int
    sha256: str | None = None
    received_at: Moment
    opened_at: Moment | None = None
    expires_at: Moment
    attempts: int = 0
    has_task: bool
    by_task: bool
    ordered: Ordered | None = None

    def for_logs(self) -> dict[str, str | None]:
        """What finds the image in the logs of every function: its id, and that of the request or record it came by."""
        return {"image_id": self.image_id, "correlation_id": self.source_ref}

    @property
    def version(self) -> ImageVersion:
        """The version of the raw object that counts."""
        return ImageVersion(RawKey(ArrivalHour(self.ingest_date, self.hour), self.image_id), self.version_id)
