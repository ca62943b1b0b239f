"""S3 as the engine meets it: presigned requests, answered from the stores of the tests as S3 answers them.

Signatures are not checked: that is S3's part. The policy of a form is, condition by condition.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Response:
    """What urllib3 gives."""

    status: int
    data: bytes = b""


@dataclass
class PresignedS3:
    """In the place of urllib3's pool.

    Args:
        client: makes the client of S3 that knows the stores.
        now: the time, by which signatures end.
        before: is called ahead of each request, with its method and key.
    """

    client: Callable[[], Any]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    before: Callable[[str, str], None] = lambda _method, _key: None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Answer one request."""
        parts = urlsplit(url)
        assert parts.scheme == "https"
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if method == "GET":
            self._note(method, key)
            return self._get(bucket, key, {name: values[0] for name, values in parse_qs(parts.query).items()})
        fields = dict(options["fields"])
        self._note(method, fields["key"])
        return self._post(bucket, fields)

    def _note(self, method: str, key: str) -> None:
        self.requests.append((method, key))
        self.before(method, key)

    def _get(self, bucket: str, key: str, query: dict[str, str]) -> Response:
        signed = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if (self.now() - signed).total_seconds() > int(query["X-Amz-Expires"]):
            return Response(403)
        version = {"VersionId": query["versionId"]} if "versionId" in query else {}
        try:
            return Response(200, self.client().get_object(Bucket=bucket, Key=key, **version)["Body"].read())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            return Response(404 if code.startswith("NoSuch") else 503 if code == "SlowDown" else 403)

    def _post(self, bucket: str, fields: dict[str, Any]) -> Response:
        _, content, content_type = fields.pop("file")
        policy = json.loads(base64.b64decode(fields["policy"]))
        signed = {"policy", "x-amz-signature"}
        left = {name: value for name, value in fields.items() if name not in signed} | {"bucket": bucket}
        if datetime.fromisoformat(policy["expiration"]) < self.now() or content_type != fields["Content-Type"]:
            return Response(403)
        for condition in policy["conditions"]:
            match condition:
                case ["content-length-range", least, most]:
                    if not least <= len(content) <= most:
                        return Response(400)
                case ["starts-with", name, prefix]:
                    if not left.pop(name.removeprefix("$"), "").startswith(prefix):
                        return Response(403)
                case ["eq", name, value]:
                    if left.pop(name.removeprefix("$"), "") != value:
                        return Response(403)
                case dict():
                    [(name, value)] = condition.items()
                    if left.pop(name, "") != value:
                        return Response(403)
        if left:  # S3 takes no field that the policy does not name
            return Response(403)
        prefix = "x-amz-meta-"
        metadata = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
        self.client().put_object(
            Bucket=bucket, Key=fields["key"], Body=content, ContentType=content_type, Metadata=metadata
        )
        return Response(204)
