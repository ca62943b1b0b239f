"""A client of a lake's HTTP API and of the upload forms it grants."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

ATTEMPTS: Final = 6
"""Of each request; the pauses grow from half a second to 16 s, with jitter, or are what the service asks for."""
_TIMEOUT: Final = Timeout(connect=10, read=60)


class ApiError(Exception):
    """A request did not succeed; the message says why, `status` is HTTP's, or None where there was no answer.

    `by_index` says what is wrong with which upload of a batch.
    """

    def __init__(self, message: str, status: int | None = None, by_index: dict[int, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.by_index = by_index or {}


class Tokens(Protocol):
    """Who knows a token that is good for a while."""

    def token(self) -> str:
        """The value of the header `Authorization`."""
        ...


def _pool() -> urllib3.PoolManager:
    retries = Retry(
        total=ATTEMPTS - 1,
        allowed_methods=None,  # a form that is granted twice is used once; a file that is sent twice counts once
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        redirect=False,
        backoff_factor=0.5,
        backoff_max=16,
        backoff_jitter=0.5,
    )
    return urllib3.PoolManager(maxsize=32, retries=retries, timeout=_TIMEOUT)


@dataclass(frozen=True)
class LakeApi:
    """The API at `base_url`, as one of its users. May be called from several threads."""

    base_url: str
    tokens: Tokens = field(repr=False)
    _http: urllib3.PoolManager = field(default_factory=_pool, init=False, repr=False)

    def request_uploads(self, uploads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Forms for up to 100 uploads, in their order.

        Raises:
            ApiError: the API refused, see `by_index`, or did not answer.
        """
        granted: list[dict[str, Any]] = self._call("POST", "/uploads", json={"uploads": list(uploads)})["uploads"]
        return granted

    def image(self, image_id: str) -> dict[str, Any] | None:
        """What the API says of an image; None when it does not know it.

        Raises:
            ApiError: the API refused or did not answer.
        """
        try:
            found: dict[str, Any] = self._call("GET", f"/images/{quote(image_id, safe='')}")
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    def images(self, **query: str) -> Iterator[dict[str, Any]]:
        """The caller's images, newest first, as many as are asked for; `query` is that of `GET /images`.

        Raises:
            ApiError: the API refused or did not answer.
        """
        cursor: str | None = None
        while True:
            page = self._call("GET", "/images", fields=query | ({"cursor": cursor} if cursor else {}))
            yield from page["images"]
            cursor = page["cursor"]
            if not cursor:
                return

    def erase(self, image_id: str, reason: str) -> bool:
        """Erase an image; whether all of it is gone by now.

        Raises:
            ApiError: there is no such image, or the API did not answer.
        """
        answer = self._request("DELETE", f"/images/{quote(image_id, safe='')}", fields={"reason": reason})
        return answer.status == HTTPStatus.NO_CONTENT

    def send(self, form: dict[str, Any], content: bytes) -> None:
        """Store a file by the form that was granted for it.

        Raises:
            ApiError: S3 refused the file or the form, or did not answer.
        """
        fields = {**form["fields"], "file": ("file", content, form["fields"].get("Content-Type", ""))}
        try:
            answer = self._http.request("POST", form["url"], fields=fields)
        except HTTPError as error:
            raise ApiError(f"the file could not be sent: {_words(error)}") from None
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise ApiError(f"S3 refused the file: {_s3_reason(answer.data)}", answer.status)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, path, **options).json()

    def _request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": self.tokens.token()}
        try:
            answer = self._http.request(method, self.base_url + path, headers=headers, **options)
        except HTTPError as error:
            raise ApiError(f"the API did not answer: {_words(error)}") from None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _problem(answer)
        return answer


def _problem(answer: urllib3.BaseHTTPResponse) -> ApiError:
    """What a problem document says; API Gateway's own refusals have a `message`."""
    try:
        document = json.loads(answer.data)
        errors = [error for error in document.get("errors", ()) if isinstance(error, dict)]
        detail = document.get("detail") or document.get("message") or document.get("title")
    except (ValueError, AttributeError):
        errors, detail = [], None
    by_index: dict[int, str] = {}
    for error in errors:
        match str(error.get("pointer", "")).split("/"):
            case ["#", "uploads", index, *rest] if index.isdecimal():
                by_index.setdefault(int(index), " ".join([*rest, str(error.get("detail"))]))
    told = "; ".join(
        f"{error.get('parameter') or error.get('pointer') or 'body'} {error.get('detail')}" for error in errors
    )
    message = f"the API answered {answer.status}: {told or detail or 'no reason given'}"
    return ApiError(message, answer.status, by_index)


def _s3_reason(body: bytes) -> str:
    """Code and message of S3's XML, which is too small for a parser to be worth its care with strangers' XML."""
    text = body.decode(errors="replace")

    def of(tag: str) -> str:
        return text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]

    return f"{of('Code')}: {of('Message')}" if of("Code") else "no reason given"


def _words(error: HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    return type(reason).__name__
