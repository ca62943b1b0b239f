"""Claim checks: records that name an image in S3 instead of holding it.

The address is the producer's word, so it is believed only where an allow-list says so, only within this account, and
never as anything but `s3://bucket/key`.
"""

import re
from dataclasses import dataclass
from typing import Self

from imagelake.engine import guard
from imagelake.errors import Fault, Rejection, SettingsError
from imagelake.stores.buckets import Bucket

_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>[^\x00-\x1f\x7f\\?#]{1,1024})")
_LOCATION = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?:[^\x00-\x20\x7f\\?#,*]+/)?")


@dataclass(frozen=True)
class AllowList:
    """Where claim checks may point: locations `bucket/` or `bucket/prefix/`."""

    locations: tuple[str, ...]

    @classmethod
    def parse(cls, setting: str) -> Self:
        """Read a comma-separated list; an empty one allows nothing.

        Raises:
            SettingsError: a location is not a bucket or does not end with a slash, and would match its neighbours.
        """
        locations = tuple(filter(None, setting.split(",")))
        for location in locations:
            if not _LOCATION.fullmatch(location):
                raise SettingsError(f"CLAIM_CHECK_LOCATIONS: {location!r} is not bucket/ or bucket/prefix/")
        return cls(locations)

    def admits(self, bucket: str, key: str) -> bool:
        """Whether the object is at one of the locations."""
        return f"{bucket}/{key}".startswith(self.locations)


@dataclass(frozen=True)
class ClaimedImage:
    """What a claim check stood for. `version_id` is the version that was read, where the bucket keeps versions."""

    content: bytes
    version_id: str | None


def redeem(uri: str, allowed: AllowList, account_id: str, max_bytes: int) -> ClaimedImage:
    """Read the image that `uri` names, in one request and therefore in one version.

    Raises:
        Rejection: `invalid_claim`, `claim_not_allowed`, `claim_not_found`, `claim_denied`, `too_many_bytes` or
            `empty_claim`.
        Fault: S3 did not answer.
    """
    match = _URI.fullmatch(uri)
    # Clients fold dot segments before they send a request, so the object read would not be the one that was checked.
    if match is None or any(part in ("", ".", "..") for part in match["key"].split("/")):
        raise Rejection("invalid_claim", "image-uri must be s3://bucket/key without empty, . or .. segments")
    if not allowed.admits(match["bucket"], match["key"]):
        raise Rejection("claim_not_allowed", "image-uri points outside the allowed buckets and prefixes")
    try:
        with Bucket(match["bucket"]).opened(match["key"], account_id) as claimed:
            guard.check_size(claimed.size, max_bytes)
            if claimed.size == 0:
                raise Rejection("empty_claim", "the object at image-uri is empty")
            return ClaimedImage(claimed.read(), claimed.version_id)
    except Fault as fault:
        if fault.code in ("NoSuchKey", "NoSuchBucket", "404"):
            raise Rejection("claim_not_found", "there is no object at image-uri") from None
        if fault.code in ("AccessDenied", "InvalidObjectState", "403"):
            # Whoever may not list a bucket is told this of a missing object, too.
            raise Rejection("claim_denied", "the object at image-uri is not there, or not ours to read") from None
        raise
