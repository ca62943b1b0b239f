"""The buckets: reading images as they arrived, storing what came of them, signing forms and links."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from imagelake.errors import Fault
from imagelake.model import Arrival

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORM_SECONDS: Final = 900
"""How long an upload form is good for."""
LINK_SECONDS: Final = 900
"""How long a link to a derivative is good for."""


@dataclass(frozen=True)
class RawObject:
    """An image as it arrived. `received_at` is S3's own clock, so every reader gets the same."""

    content: bytes
    content_type: str
    received_at: datetime
    arrival: Arrival


@cache
def s3_client() -> "S3Client":
    """The process's S3 client; signs with version 4 and path-style addresses, which emulators understand too.

    Threads share it; it has a connection for each of the 16 that the Kafka door runs.
    """
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=16)
    return boto3.client("s3", config=config)


def read_image(bucket: str, key: str, version_id: str | None) -> RawObject:
    """Read an image whole.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    request: dict[str, Any] = {"Bucket": bucket, "Key": key} | ({"VersionId": version_id} if version_id else {})
    with Fault.on("GetObject"):
        response = s3_client().get_object(**request)
        content = response["Body"].read()
    arrival = Arrival.from_metadata(response["Metadata"])
    return RawObject(content, response["ContentType"], response["LastModified"], arrival)


def store_once(
    bucket: str, key: str, content: bytes, content_type: str, metadata: dict[str, str] | None = None
) -> bool:
    """Create an object; leave one that is already there as it is.

    Returns:
        Whether this call created it.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    with Fault.on("PutObject"):
        try:
            s3_client().put_object(
                Bucket=bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata or {}, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "PreconditionFailed":
                raise
            return False
    return True


def overwrite(bucket: str, key: str, content: bytes, content_type: str) -> None:
    """Create or replace an object.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    with Fault.on("PutObject"):
        s3_client().put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)


def existing(bucket: str, keys: list[str]) -> set[str]:
    """Those of `keys` that are in the bucket; asks for all of them at once.

    Raises:
        Fault: S3 did not answer, or denied access.
    """

    def exists(key: str) -> bool:
        with Fault.on("ListObjectsV2"):
            found = s3_client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in found.get("Contents", []))

    if not keys:
        return set()
    with ThreadPoolExecutor(max_workers=min(10, len(keys))) as pool:
        return {key for key, found in zip(keys, pool.map(exists, keys), strict=True) if found}


def upload_form(
    bucket: str, key: str, content_type: str, max_bytes: int, metadata: dict[str, str], checksum: str | None
) -> dict[str, Any]:
    """A presigned POST that takes one object, exactly as described, for `FORM_SECONDS`.

    Args:
        bucket: where the object will be.
        key: under which key, and no other.
        content_type: and no other.
        max_bytes: at most; at least one byte.
        metadata: user metadata that the object gets; the form cannot be sent with any other.
        checksum: SHA-256 of the content, base64, if S3 shall refuse any other.

    Returns:
        `{"url": …, "fields": {…}}`; the file goes last, as the field `file`.
    """
    fields = {"Content-Type": content_type} | {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    if checksum:
        fields |= {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": checksum}
    conditions = [{name: value} for name, value in fields.items()]
    return s3_client().generate_presigned_post(
        bucket,
        key,
        Fields=dict(fields),
        Conditions=[*conditions, ["content-length-range", 1, max_bytes]],
        ExpiresIn=FORM_SECONDS,
    )


def link(bucket: str, key: str) -> str:
    """A URL that reads one object for `LINK_SECONDS`."""
    return s3_client().generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=LINK_SECONDS)
