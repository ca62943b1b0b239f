"""The buckets: reading what arrived, storing what came of it, signing forms and links, deleting for good."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config

from imagelake.errors import Fault
from imagelake.model import Arrival
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

FORM_SECONDS: Final = 900
"""How long an upload form is good for."""
LINK_SECONDS: Final = 900
"""How long a link to a derivative is good for."""


@dataclass(frozen=True)
class RawObject:
    """What S3 says of an image as it arrived. `received_at` is S3's own clock, so every reader gets the same."""

    version_id: str
    bytes: int
    content_type: str
    received_at: datetime
    arrival: Arrival


@cache
def s3_client() -> "S3Client":
    """The process's S3 client; signs with version 4 and path-style addresses, which emulators understand too.

    Threads share it; it has a connection for each of the 16 that the Kafka door runs.
    """
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=16)
    s3: S3Client = client("s3", config=config)
    return s3


@dataclass(frozen=True)
class Version:
    """One version of an object, or a delete marker; in a bucket without versions the one there is."""

    key: str
    version_id: str
    last_modified: datetime
    bytes: int
    is_marker: bool


@dataclass(frozen=True, order=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    last_modified: datetime
    etag: str
    bytes: int


@dataclass(frozen=True)
class Measured:
    """What S3 says of an object without its bytes; `metadata` is its user metadata."""

    bytes: int
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class OpenedObject:
    """An object whose `size` in bytes is known before it is read; `version_id` where the bucket keeps versions."""

    size: int
    version_id: str | None
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Bucket:
    """A bucket of the stack, by its name."""

    name: str

    def first_version(self, key: str) -> "Version | None":
        """The oldest version of an object, whatever hides it now; None when there is none.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        oldest = None
        # S3's own order, newest first: times alone have only seconds.
        for page in self.versions(key):
            for version in page:
                if version.key == key and not version.is_marker:
                    oldest = version
        return oldest

    def describe(self, key: str, version_id: str) -> RawObject:
        """How an image came in, without its bytes.

        Raises:
            Fault: S3 did not answer, or denied access.
            ValueError: its metadata are malformed.
        """
        with calling("HeadObject"):
            response = s3_client().head_object(Bucket=self.name, Key=key, VersionId=version_id)
        arrival = Arrival.from_metadata(response["Metadata"])
        return RawObject(
            version_id, response["ContentLength"], response["ContentType"], response["LastModified"], arrival
        )

    def measure(self, key: str) -> Measured:
        """Describe an object without reading it.

        Raises:
            Fault: there is no such object (its code is `NoSuchKey`), S3 did not answer, or denied access.
        """
        try:
            with calling("HeadObject"):
                response = s3_client().head_object(Bucket=self.name, Key=key)
        except Fault as fault:
            if fault.code == "404":  # an answer to HEAD has no body that could name the error
                raise Fault("NoSuchKey on HeadObject", "NoSuchKey") from None
            raise
        return Measured(response["ContentLength"], response["ContentType"], response["Metadata"])

    @contextmanager
    def opened(self, key: str, owner: str) -> Iterator[OpenedObject]:
        """An object of a bucket that belongs to the account `owner`; read inside, all of it in one request.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        with calling("GetObject"):
            response = s3_client().get_object(Bucket=self.name, Key=key, ExpectedBucketOwner=owner)
            with response["Body"] as body:
                yield OpenedObject(response["ContentLength"], response.get("VersionId"), body.read)

    def store_once(self, key: str, content: bytes, content_type: str, metadata: dict[str, str] | None = None) -> bool:
        """Create an object; leave one that is already there as it is.

        Returns:
            Whether this call created it.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        try:
            with calling("PutObject"):
                s3_client().put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=content,
                    ContentType=content_type,
                    Metadata=metadata or {},
                    IfNoneMatch="*",
                )
        except Fault as fault:
            if fault.code == "PreconditionFailed":
                return False
            raise
        return True

    def overwrite(self, key: str, content: bytes, content_type: str) -> None:
        """Create or replace an object.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        with calling("PutObject"):
            s3_client().put_object(Bucket=self.name, Key=key, Body=content, ContentType=content_type)

    def existing(self, keys: list[str]) -> set[str]:
        """Those of `keys` that are in the bucket; asks for all of them at once.

        Raises:
            Fault: S3 did not answer, or denied access.
        """

        def exists(key: str) -> bool:
            with calling("ListObjectsV2"):
                found = s3_client().list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1)
            return any(entry["Key"] == key for entry in found.get("Contents", []))

        if not keys:
            return set()
        with ThreadPoolExecutor(max_workers=min(10, len(keys))) as pool:
            return {key for key, found in zip(keys, pool.map(exists, keys), strict=True) if found}

    def upload_form(
        self,
        key: str,
        content_type: str,
        length: tuple[int, int],
        metadata: dict[str, str],
        checksum: str | None,
        seconds: int = FORM_SECONDS,
    ) -> dict[str, Any]:
        """A presigned POST that takes one object, exactly as described.

        Args:
            key: under which key, and no other.
            content_type: and no other.
            length: bytes, at least and at most.
            metadata: user metadata that the object gets; the form cannot be sent with any other.
            checksum: SHA-256 of the content, base64, if S3 shall refuse any other.
            seconds: how long the form is good for; never longer than the credentials that sign it.

        Returns:
            `{"url": …, "fields": {…}}`; the file goes last, as the field `file`.
        """
        fields = {"Content-Type": content_type} | {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        if checksum:
            fields |= {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-sha256": checksum}
        conditions = [{name: value} for name, value in fields.items()]
        return s3_client().generate_presigned_post(
            self.name,
            key,
            Fields=dict(fields),
            Conditions=[*conditions, ["content-length-range", *length]],
            ExpiresIn=seconds,
        )

    def folder_form(self, prefix: str, content_type_prefix: str, max_bytes: int, seconds: int) -> dict[str, Any]:
        """A presigned POST that takes any number of objects under one prefix.

        Args:
            prefix: of their keys.
            content_type_prefix: of their content types.
            max_bytes: of each.
            seconds: how long the form is good for; never longer than the credentials that sign it.

        Returns:
            `{"url": …, "fields": {…}}`; key and content type are added as fields, the file goes last.
        """
        form = s3_client().generate_presigned_post(
            self.name,
            prefix + "${filename}",  # boto3 makes a condition on the prefix of it
            Conditions=[["starts-with", "$Content-Type", content_type_prefix], ["content-length-range", 1, max_bytes]],
            ExpiresIn=seconds,
        )
        del form["fields"]["key"]
        return form

    def folders(self, prefix: str) -> list[str]:
        """What comes after `prefix`, up to and without the next slash, for all keys of whatever version.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        names = []
        with calling("ListObjectVersions"):
            pages = (
                s3_client()
                .get_paginator("list_object_versions")
                .paginate(Bucket=self.name, Prefix=prefix, Delimiter="/")
            )
            for page in pages:
                names += [folder["Prefix"][len(prefix) : -1] for folder in page.get("CommonPrefixes", [])]
        return names

    def versions(self, prefix: str) -> Iterator[list[Version]]:
        """Every version and delete marker under `prefix`, by key, at most 1,000 at a time.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        with calling("ListObjectVersions"):
            for page in s3_client().get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix=prefix):
                found = [
                    Version(entry["Key"], entry["VersionId"], entry["LastModified"], entry["Size"], is_marker=False)
                    for entry in page.get("Versions", [])
                ] + [
                    Version(entry["Key"], entry["VersionId"], entry["LastModified"], 0, is_marker=True)
                    for entry in page.get("DeleteMarkers", [])
                ]
                yield sorted(found, key=lambda version: version.key)

    def delete_versions(self, doomed: Sequence[Version]) -> None:
        """Delete these versions for good, leaving no marker; one that is gone already is fine.

        Raises:
            Fault: S3 did not answer, denied access, or could not delete some of them.
        """
        self._delete([{"Key": one.key, "VersionId": one.version_id} for one in doomed])

    def has_uploads(self, begun_before: datetime) -> bool:
        """Whether there are multipart uploads that began by then.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        with calling("ListMultipartUploads"):
            pages = s3_client().get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
            return any(upload["Initiated"] <= begun_before for page in pages for upload in page.get("Uploads", []))

    def abort_uploads(self, begun_before: datetime) -> list[datetime]:
        """Abort multipart uploads and free their parts; say when each had begun.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        aborted = []
        with calling("AbortMultipartUpload"):
            for page in s3_client().get_paginator("list_multipart_uploads").paginate(Bucket=self.name):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] <= begun_before:
                        s3_client().abort_multipart_upload(
                            Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        aborted.append(upload["Initiated"])
        return aborted

    def keys(self, prefix: str) -> list[str]:
        """The keys under `prefix`.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        return [stored.key for stored in self.objects(prefix)]

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """The current objects under `prefix`, by key.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        with calling("ListObjectsV2"):
            for page in s3_client().get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["LastModified"], entry["ETag"], entry["Size"])

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's content and ETag, or None when there is no such object.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        try:
            with calling("GetObject"):
                response = s3_client().get_object(Bucket=self.name, Key=key)
                return response["Body"].read(), response["ETag"]
        except Fault as fault:
            if fault.code == "NoSuchKey":
                return None
            raise

    def download(self, key: str, target: Path) -> bool:
        """Write an object to the file `target`, piece by piece.

        Returns:
            False when there is no such object.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        try:
            with calling("GetObject"):
                response = s3_client().get_object(Bucket=self.name, Key=key)
                with target.open("wb") as file:
                    shutil.copyfileobj(response["Body"], file, 1024 * 1024)
        except Fault as fault:
            if fault.code == "NoSuchKey":
                return False
            raise
        return True

    def replace(self, key: str, content: bytes, content_type: str, etag: str) -> bool:
        """Replace an object if it still is the one with `etag`.

        Returns:
            False when somebody else has replaced or deleted it since.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        try:
            with calling("PutObject"):
                s3_client().put_object(Bucket=self.name, Key=key, Body=content, ContentType=content_type, IfMatch=etag)
        except Fault as fault:
            if fault.code in ("PreconditionFailed", "NoSuchKey", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def copy(self, source: str, target: str, etag: str) -> bool:
        """Create or replace an object with the content of another, if that still is the one with `etag`.

        Returns:
            False when somebody else has replaced or deleted the source since.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        try:
            with calling("CopyObject"):
                s3_client().copy_object(
                    Bucket=self.name,
                    Key=target,
                    CopySource={"Bucket": self.name, "Key": source},
                    CopySourceIfMatch=etag,
                )
        except Fault as fault:
            if fault.code in ("PreconditionFailed", "NoSuchKey"):
                return False
            raise
        return True

    def delete(self, doomed: Sequence[str]) -> None:
        """Delete objects of a bucket without versions; one that is gone already is fine.

        Raises:
            Fault: S3 did not answer, denied access, or could not delete some of them.
        """
        self._delete([{"Key": key} for key in doomed])

    def _delete(self, doomed: Sequence["ObjectIdentifierTypeDef"]) -> None:
        for some in batched(doomed, 1000, strict=False):
            with calling("DeleteObjects"):
                answer = s3_client().delete_objects(Bucket=self.name, Delete={"Objects": some, "Quiet": True})
            if errors := answer.get("Errors"):
                raise Fault(f"{errors[0].get('Code', 'unknown')} on DeleteObjects")

    def link(self, key: str, version_id: str | None = None, seconds: int = LINK_SECONDS) -> str:
        """A URL that reads one object, or one version of it, for so long; never longer than what signs it lasts."""
        version = {"VersionId": version_id} if version_id else {}
        return s3_client().generate_presigned_url(
            "get_object", {"Bucket": self.name, "Key": key} | version, ExpiresIn=seconds
        )
