"""The nouns: how an image arrived, and what is known of it.

`Arrival` travels with the bytes, as metadata of the raw object, so a raw object says everything that is needed to
process it. `ImageRecord` is the one row an image has, in the images table, in the Parquet catalog and in SQL.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import from_json

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

MAX_TAGS: Final = 20
MAX_TAGS_BYTES: Final = 1024
"""Of the tags as ASCII JSON. S3 allows 2 KB of metadata an object; the rest is for the other fields of `Arrival`."""


def _encode_tags(tags: dict[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def _check_tags_size(tags: dict[str, str]) -> dict[str, str]:
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
    AfterValidator(_check_tags_size),
]


def _decode_tags(tags: object) -> object:
    return from_json(tags) if isinstance(tags, str) else tags


class Arrival(BaseModel):
    """How an image came in; stored as metadata of the raw object.

    `source` is `api`, or what the producer of a Kafka record calls itself. `source_ref` finds the image at its source:
    the API's request id, or `topic/partition/offset`. `uploader` is the caller's Cognito subject.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    source_ref: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,300}$")] | None = None
    uploader: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")] | None = None
    tags: Annotated[Tags, BeforeValidator(_decode_tags)] = Field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The fields as S3 user metadata: ASCII values, names without the `x-amz-meta-` prefix."""
        fields = {"source": self.source, "source-ref": self.source_ref, "uploader": self.uploader}
        metadata = {name: value for name, value in fields.items() if value is not None}
        return metadata | ({"tags": _encode_tags(self.tags)} if self.tags else {})

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> Self:
        """Read back what `to_metadata` wrote; other entries are ignored.

        Raises:
            pydantic.ValidationError: the object was not put there by one of our doors.
        """
        return cls.model_validate(
            {
                "source": metadata.get("source"),
                "source_ref": metadata.get("source-ref"),
                "uploader": metadata.get("uploader"),
                "tags": metadata.get("tags", "{}"),
            }
        )


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


type Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]


def _from_epoch(value: object) -> object:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else value


class ImageRecord(BaseModel):
    """One row: the columns of the catalog, in their order, without the partition.

    Times are UTC. `width` and `height` are pixels as stored, before `orientation` (EXIF, 1 to 8) is applied. `bytes`
    and `sha256` are of the file as it arrived. `brightness` is 0 (black) to 1 (white); `sharpness` is the variance of
    the Laplacian. `gps_lat` and `gps_lon` are degrees, WGS 84. `script` and `script_version` are parallel,
    comma-separated lists. `derivatives` are keys in the lake bucket.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    status: Literal["processed", "rejected", "failed"]
    source: str | None = None
    source_ref: str | None = None
    received_at: Moment
    processed_at: Moment | None = None
    expires_at: Annotated[Moment, BeforeValidator(_from_epoch)]
    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    frames: int | None = None
    orientation: int | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    taken_at: Moment | None = None
    gps_lat: float | None = None
    gps_lon: float | None = None
    uploader: str | None = None
    phash: str | None = None
    dominant_color: str | None = None
    brightness: float | None = None
    sharpness: float | None = None
    script: str | None = None
    script_version: str | None = None
    script_output: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    derivatives: list[str] = Field(default_factory=list)
    reason: str | None = None

    def to_item(self) -> dict[str, Any]:
        """The record as an item of the images table: ISO 8601 times, `expires_at` in epoch seconds, nulls left out."""
        item = self.model_dump(mode="json", exclude_none=True)
        return item | {"expires_at": int(self.expires_at.timestamp())}


IMAGE_COLUMNS: Final = (
    "format", "width", "height", "mode", "frames", "orientation", "camera_make", "camera_model", "taken_at",
    "gps_lat", "gps_lon", "phash", "dominant_color", "brightness", "sharpness",
)  # fmt: skip
"""Columns that a provided script fills by returning metadata of that name."""
