"""The nouns: how an image arrived, and what is known of it.

`Arrival` travels with the bytes, as metadata of the raw object, so a raw object says everything that is needed to
process it. `ImageRecord` is the one row an image has, in the images table, in the Parquet catalog and in SQL.
"""

import json
import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import from_json

from imagelake.keys import ArrivalHour, RawKey
from imagelake.values import Expiry, Int32, Int64, Latitude, Longitude, Moment, Number

type Status = Literal["awaiting_upload", "processing", "processed", "rejected", "failed"]

CONTENT_TYPES: Final = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/tiff": "TIFF",
    "image/bmp": "BMP",
}
"""Accepted media types, each with Pillow's name of its format."""

HEIF_CONTENT_TYPES: Final = {"image/heic": "HEIF", "image/heif": "HEIF"}
"""Accepted as well where the stack has a decoder of HEIC."""

TENANT: Final = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
"""What a tenant can be called."""
TENANT_GROUP: Final = "tenant-"
"""Before its name in that of the group of the user pool whose members send its images."""

MAX_TAGS: Final = 20
MAX_TAGS_BYTES: Final = 1024
"""Of the tags as ASCII JSON. S3 allows 2 KB of metadata an object; the rest is for the other fields of `Arrival`."""


def _encode_tags(tags: dict[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def check_tags_size(tags: dict[str, str]) -> dict[str, str]:
    """Return `tags` if they fit into the metadata of an object.

    Raises:
        ValueError: they take over `MAX_TAGS_BYTES`.
    """
    size = len(_encode_tags(tags))
    if size > MAX_TAGS_BYTES:
        raise ValueError(f"tags take {size} bytes as ASCII JSON; at most {MAX_TAGS_BYTES} are kept")
    return tags


type Tags = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=256)],
    ],
    Field(max_length=MAX_TAGS),
    AfterValidator(check_tags_size),
]


def _decode_tags(tags: object) -> object:
    return from_json(tags) if isinstance(tags, str) else tags


type Tenant = Annotated[str, StringConstraints(pattern=TENANT)]

SUBJECT: Final = r"^[!-~]{1,128}$"
"""What a subject of Cognito looks like."""


class Arrival(BaseModel):
    """How an image came in; stored as metadata of the raw object.

    `source` is `api`, `direct` for an object put into the bucket by hand, or what the producer of a Kafka record calls
    itself. `source_ref` finds the image at its source: the API's request id, or `topic/partition/offset`. `uploader`
    is the caller's Cognito subject. `sha256` is what the sender says the file hashes to. `tenant` is the customer or
    unit whose image it is, by the caller's group or the topic; no sender writes it, and an object put by hand has none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    source: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    source_ref: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,300}$")] | None = None
    uploader: Annotated[str, StringConstraints(pattern=SUBJECT)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    tenant: Tenant | None = None
    tags: Annotated[Tags, BeforeValidator(_decode_tags)] = Field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The fields as S3 user metadata: ASCII values, names without the `x-amz-meta-` prefix."""
        fields = self.model_dump(exclude={"tags"}, exclude_none=True)
        metadata = {name.replace("_", "-"): value for name, value in fields.items()}
        return metadata | ({"tags": _encode_tags(self.tags)} if self.tags else {})

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> Self:
        """Read back what `to_metadata` wrote; other entries are ignored.

        Without a source it is `direct`, and has no tenant, whatever the entry says.

        Raises:
            ValueError: an entry is there but malformed.
        """
        fields = {name.replace("-", "_"): value for name, value in metadata.items()}
        if fields.setdefault("source", "direct") == "direct":
            fields.pop("tenant", None)
        return cls.model_validate(fields)


EXPIRY_SHARDS: Final = "0123456789abcdef"
"""Values of the attribute that spreads the index of expiring items; each takes 1,000 writes a second."""


BOOKKEEPING: Final = frozenset(
    {
        *("expiry_shard", "attempts", "attempted_at", "version_id", "failed_at", "failed_step"),
        *("unsettled_since", "reported_at", "redriven_at"),
    }
)
"""Attributes of an item that are no columns: where it is found when it expires, how often it was started again, which
version of the raw object it is of, when and in which step it failed, since when something is left to do (its failure
has to be reported, its redrive to have an outcome, its erasure to be repeated), when its failure was reported, and when
an operator last asked for another try."""


def is_new_outcome(item: dict[str, Any]) -> bool:
    """Whether an item that was changed says something new of its image.

    That an outcome was reported or may be replaced is noted at the item it has; a new outcome is a new item.
    """
    return not {"reported_at", "redriven_at"} & item.keys()


def is_first_attempt(item: dict[str, Any]) -> bool:
    """Whether an outcome is of the first attempt at its image: not started again, redriven, or left to the task."""
    return not item.get("attempts")


def expiry_attributes(image_id: str, expires_at: datetime) -> dict[str, str | int]:
    """What makes an item findable once it has expired: a digit of its random id, and epoch seconds, rounded up."""
    return {"expiry_shard": image_id[-1], "expires_at": math.ceil(expires_at.timestamp())}


class Derivative(BaseModel):
    """An image made from an image. `key` is in the lake bucket, `width` and `height` are pixels.

    `sha256` is of its bytes as the engine stored them; items of earlier versions have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str
    width: int
    height: int
    content_type: str
    sha256: str | None = None


class ImageRecord(BaseModel):
    """One image and what became of it: the columns of the catalog, in their order, then the partition.

    Times are UTC. `width` and `height` are pixels as stored, before `orientation` (EXIF, 1 to 8) is applied. `bytes`
    and `sha256` are of the file as it arrived. `brightness` is 0 (black) to 1 (white); `sharpness` is the variance of
    the Laplacian. `gps_lat` and `gps_lon` are degrees, WGS 84. `script` and `script_version` are parallel,
    comma-separated lists, `script_output` is a JSON object by script. `reason` begins with a code and a colon. `tenant`
    comes last, as every column that a version adds: files of before do not have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    image_id: str
    status: Literal["processed", "rejected", "failed"]
    source: str | None = None
    source_ref: str | None = None
    received_at: Moment
    processed_at: Moment | None = None
    expires_at: Expiry
    sha256: str | None = None
    bytes: Int64 | None = None
    format: str | None = None
    content_type: str | None = None
    width: Int32 | None = None
    height: Int32 | None = None
    mode: str | None = None
    frames: Int32 | None = None
    orientation: Int32 | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    taken_at: Moment | None = None
    gps_lat: Latitude | None = None
    gps_lon: Longitude | None = None
    uploader: str | None = None
    phash: str | None = None
    dominant_color: str | None = None
    brightness: Number | None = None
    sharpness: Number | None = None
    script: str | None = None
    script_version: str | None = None
    script_output: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    derivatives: list[Derivative] = Field(default_factory=list)
    reason: str | None = None
    tenant: str | None = None
    ingest_date: str
    hour: str

    def to_item(self) -> dict[str, Any]:
        """The record as an item of the images table: ISO 8601 times, `expires_at` in epoch seconds, nulls left out."""
        item = self.model_dump(mode="json", exclude_none=True)
        return item | expiry_attributes(self.image_id, self.expires_at)

    @model_validator(mode="before")
    @classmethod
    def _without_bookkeeping(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: entry for name, entry in value.items() if name not in BOOKKEEPING}

    def to_row(self) -> dict[str, Any]:
        """The record as a row of the catalog: JSON values, all columns, `derivatives` as their keys."""
        row = self.model_dump(mode="json", exclude={"ingest_date", "hour"})
        return row | {"derivatives": [derivative.key for derivative in self.derivatives]}


class AwaitedUpload(BaseModel):
    """What is known of an image between the request for its upload form and the catalog."""

    model_config = ConfigDict(frozen=True)

    image_id: str
    status: Literal["awaiting_upload"] = "awaiting_upload"
    source: Literal["api"] = "api"
    uploader: str
    tenant: str | None = None
    received_at: Moment
    expires_at: Expiry
    content_type: str
    ingest_date: str
    hour: str

    @property
    def raw_key(self) -> str:
        """Where the upload will be."""
        return str(RawKey(ArrivalHour(self.ingest_date, self.hour), self.image_id))

    def to_item(self) -> dict[str, Any]:
        """The upload as an item of the images table."""
        return self.model_dump(mode="json", exclude_none=True) | expiry_attributes(self.image_id, self.expires_at)


type ErasureReason = Literal[
    "unspecified", "sent_by_mistake", "no_longer_needed", "data_subject_request", "policy_violation", "legal_order"
]
"""Why somebody wants an image erased, as the receipt says it."""


class Tombstone(BaseModel):
    """What stays of an image that was erased on request, so that nothing brings it back.

    `ingest_date` and `hour` are those of the object to erase. `owner_digest` lets the owner, and nobody else, repeat
    the request; images from Kafka have no owner. `asked_by` (the caller's Cognito subject) and `reason` are for the
    receipt, whoever comes to write it. `returned_at` is when the image was last seen to have come back, `repeated_at`
    when it was last asked to be erased once more, after all that could still store something of it had ended;
    `unsettled_since` is there until that is done, and again when the image has come back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    image_id: str
    status: Literal["erased"] = "erased"
    erased_at: Moment
    expires_at: Expiry
    owner_digest: str | None = None
    asked_by: str | None = None
    reason: ErasureReason = "unspecified"
    returned_at: str | None = None
    repeated_at: str | None = None
    unsettled_since: str | None = None
    ingest_date: str
    hour: str

    @property
    def raw_key(self) -> RawKey:
        """Where the image was, or has come back to."""
        return RawKey(ArrivalHour(self.ingest_date, self.hour), self.image_id)

    def to_item(self) -> dict[str, Any]:
        """The tombstone as an item of the images table."""
        item = self.model_dump(mode="json", exclude_none=True)
        return item | expiry_attributes(self.image_id, self.expires_at)


MAX_REASON: Final = 1000
"""Characters of the reason in a message for operators."""


def _cut_reason(reason: str) -> str:
    return reason[:MAX_REASON]


class FaultCode(StrEnum):
    """What a dead letter is about: the closed list.

    `FAULT`: a service, a permission or a function failed through all tries. `LOST`: attempts to start the image again
    came to nothing. `UNREADABLE_ITEM`: an item of the images table is malformed. `GIVEN_UP`: Lambda could not deliver
    Kafka records.
    """

    FAULT = "fault"
    LOST = "lost"
    UNREADABLE_ITEM = "unreadable_item"
    GIVEN_UP = "given_up"

    @classmethod
    def of(cls, reason: str) -> Self:
        """What a reason begins with; `FAULT` where that is none of the list."""
        code = reason.partition(":")[0]
        return cls(code) if code in cls else cls("fault")


class DeadLetter(BaseModel):
    """A message for operators: a fault that they can mend, or redrive. No image data and no personal data.

    `version` is of this form. `reason` is a sentence after `code` and a colon, cut after `MAX_REASON` characters.
    `bucket`, `key` and `object_version` are of the raw object. `step` is the state of the workflow that failed, or the
    function; `attempts` says how often it was tried, from `first_at` to `last_at`. `execution` is the ARN of the
    workflow's execution. `kept_at` is where Kafka records that were given up are kept; then `image_id` is null, since
    several images are meant. What is not known is null or left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["1"] = "1"
    image_id: str | None
    status: Literal["failed"] = "failed"
    code: FaultCode
    reason: Annotated[str, AfterValidator(_cut_reason)]
    bucket: str | None = None
    key: str | None = None
    object_version: str | None = None
    step: str
    attempts: int | None = None
    first_at: Moment | None = None
    last_at: Moment
    execution: str | None = None
    kept_at: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, value: Any) -> Any:
        if isinstance(value, dict) and "code" not in value:
            return value | {"code": FaultCode.of(str(value.get("reason", "")))}
        return value
