"""Reading and storing by presigned requests: plain HTTP, without credentials of its own.

A presigned URL opens what it names for whoever has it, so none gets into an error or a log.
"""

import logging
from functools import cache
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from imagelake.engine.contract import Form
from imagelake.errors import Fault

ATTEMPTS: Final = 4
"""Of each request; the pauses grow from 0.2 s, with jitter."""

logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its warnings quote URLs


@cache
def _pool() -> urllib3.PoolManager:
    retries = Retry(
        total=ATTEMPTS - 1,
        allowed_methods=None,  # POST as well: it stores the same once more
        status_forcelist=(500, 502, 503, 504),
        raise_on_status=False,
        redirect=False,
        backoff_factor=0.2,
        backoff_jitter=0.2,
        backoff_max=2,
    )
    return urllib3.PoolManager(retries=retries, timeout=Timeout(connect=3, read=15))


def fetch(url: str) -> bytes:
    """Read an object whole.

    Raises:
        Fault: S3 did not answer, or refused.
    """
    return _request("GET", url)


def store(form: Form, key: str, content: bytes, content_type: str) -> None:
    """Store an object under `key`; one that is there is replaced.

    Raises:
        Fault: S3 did not answer, or refused: the form is over, or does not take this.
    """
    fields = form.fields | {"key": key, "Content-Type": content_type}
    _request("POST", form.url, fields=[*fields.items(), ("file", ("file", content, content_type))])


def _request(method: str, url: str, **options: Any) -> bytes:
    try:
        response = _pool().request(method, url, redirect=False, **options)
    except HTTPError as error:
        raise Fault(f"{type(error).__name__} on {method}") from None
    if not 200 <= response.status < 300:
        raise Fault(f"status {response.status} on {method}", str(response.status))
    return response.data
