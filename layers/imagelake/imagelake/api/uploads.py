"""Requests for an upload: what a caller may ask, and the form that takes the image."""

import base64
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from imagelake import pipelines
from imagelake.api.callers import Caller
from imagelake.keys import ArrivalHour
from imagelake.model import CONTENT_TYPES, HEIF_CONTENT_TYPES, Arrival, AwaitedUpload, Tags, check_tags_size
from imagelake.settings import load
from imagelake.stores.buckets import FORM_SECONDS, Bucket
from imagelake.stores.images_table import ImagesTable
from imagelake.values import to_iso

MAX_BATCH: Final = 100
AWAITED_FOR: Final = timedelta(days=1)
"""How long an upload is remembered. The form is good for minutes; an arrival that got lost is put back within hours."""


class UploadRequest(BaseModel):
    """One image that the caller is about to upload.

    `content_length` is bytes, `sha256` 64 hexadecimal digits: the form takes no other file where they are given.
    `filename` is kept as the tag of that name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    content_type: str
    content_length: Annotated[int, Field(ge=1)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$")] | None = None
    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    tags: Tags = Field(default_factory=dict)

    @field_validator("content_type")
    @classmethod
    def _is_supported(cls, value: str) -> str:
        accepted = CONTENT_TYPES | (HEIF_CONTENT_TYPES if load(Uploads).accept_heif else {})
        if value not in accepted:
            raise PydanticCustomError("content_type", "must be one of {accepted}", {"accepted": ", ".join(accepted)})
        return value

    @field_validator("content_length")
    @classmethod
    def _is_within_limit(cls, value: int | None) -> int | None:
        limit = pipelines.load().limits.max_bytes
        if value is not None and value > limit:
            raise PydanticCustomError("content_length", "is over the limit of {limit} bytes", {"limit": limit})
        return value

    @model_validator(mode="after")
    def _filename_fits_tags(self) -> Self:
        if self.filename is not None and "filename" in self.tags:
            raise PydanticCustomError("filename", "filename and the tag filename cannot both be given")
        check_tags_size(self.all_tags)
        return self

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags, with the file's name among them."""
        return self.tags | ({"filename": self.filename} if self.filename is not None else {})


class UploadBatch(BaseModel):
    """Up to `MAX_BATCH` images that the caller is about to upload."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    uploads: Annotated[list[UploadRequest], Field(min_length=1, max_length=MAX_BATCH)]


_BODY: Final[TypeAdapter[UploadRequest | UploadBatch]] = TypeAdapter(
    Annotated[
        Annotated[UploadRequest, Tag("<one>")] | Annotated[UploadBatch, Tag("<batch>")],
        Discriminator(lambda body: "<batch>" if "uploads" in body else "<one>"),
    ]
)


def parse(event: APIGatewayProxyEvent) -> UploadRequest | UploadBatch:
    """Read the body of a request, one JSON object in which no name comes twice.

    Raises:
        RequestValidationError: it is not, or it asks for something else than an upload or a batch of them.
    """
    try:
        document = json.loads(event.decoded_body or "", object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):  # also of bytes that are no text, numbers too long, and too many brackets
        raise RequestValidationError([{"loc": ("body",), "type": "json_invalid", "msg": ""}]) from None
    if not isinstance(document, dict):
        raise RequestValidationError([{"loc": ("body",), "type": "dict_type", "msg": "must be an object"}])
    try:
        return _BODY.validate_python(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in found]) from None


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise RequestValidationError(
            [{"loc": ("body",), "type": "repeated", "msg": "has an object in which a name comes twice"}]
        )
    return members


@dataclass(frozen=True)
class Uploads:
    """Where uploads go, and what is accepted."""

    raw_bucket: Bucket
    images_table: ImagesTable
    accept_heif: bool

    def request(
        self, requests: Sequence[UploadRequest], caller: Caller, request_id: str, now: datetime
    ) -> list[dict[str, Any]]:
        """Record each upload as awaited and sign its form.

        Returns:
            For each request `{"image_id", "upload": {"url", "fields"}, "expires_at"}`; the form ends at `expires_at`.

        Raises:
            NotAllowedError: the caller belongs to several tenants.
            Fault: DynamoDB did not answer, or denied access.
        """
        awaited = [_await(request, caller, now) for request in requests]
        self.images_table.expect_uploads(awaited)
        form_expires_at = to_iso(now + timedelta(seconds=FORM_SECONDS))
        return [
            {
                "image_id": upload.image_id,
                "upload": self._form(request, upload, request_id),
                "expires_at": form_expires_at,
            }
            for request, upload in zip(requests, awaited, strict=True)
        ]

    def _form(self, request: UploadRequest, upload: AwaitedUpload, request_id: str) -> dict[str, Any]:
        arrival = Arrival(
            source=upload.source,
            source_ref=request_id,
            uploader=upload.uploader,
            tenant=upload.tenant,
            sha256=request.sha256.lower() if request.sha256 else None,
            tags=request.all_tags,
        )
        return self.raw_bucket.upload_form(
            upload.raw_key,
            upload.content_type,
            (request.content_length or 1, request.content_length or pipelines.load().limits.max_bytes),
            arrival.to_metadata(),
            _base64(request.sha256),
        )


def _await(request: UploadRequest, caller: Caller, now: datetime) -> AwaitedUpload:
    hour = ArrivalHour.of(now)
    return AwaitedUpload(
        image_id=str(_uuid7(now)),
        uploader=caller.subject,
        tenant=caller.sends_for(),
        received_at=now,
        expires_at=now + AWAITED_FOR,
        content_type=request.content_type,
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )


def _base64(sha256: str | None) -> str | None:
    return base64.b64encode(bytes.fromhex(sha256)).decode() if sha256 else None


def _uuid7(now: datetime) -> uuid.UUID:
    """RFC 9562, section 5.7; Python has its own from 3.14 on."""
    milliseconds = int(now.timestamp() * 1000)
    random = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return uuid.UUID(int=value)
