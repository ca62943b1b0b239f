"""Problem documents (RFC 9457): what was wrong with a request, field by field, without repeating what was sent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from imagelake.errors import NotAllowedError, NotSignedInError


def problem(status: HTTPStatus, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> Response[str]:
    """A response with a problem document.

    Args:
        status: of the response.
        detail: one sentence.
        errors: `{"pointer" | "parameter": where, "detail": what}` for each fault of the request.
    """
    document: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    if errors:
        document["errors"] = list(errors)
    return Response(status, "application/problem+json", json.dumps(document))


def image_not_found() -> Response[str]:
    """Status 404, the same for an image that is unknown, expired or somebody else's."""
    return problem(HTTPStatus.NOT_FOUND, "image_id: there is no such image, or it has expired, or it is not yours")


def unsupported_media_type() -> Response[str]:
    """Status 415."""
    return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be JSON, sent as application/json.")


def is_json(content_type: str | None) -> bool:
    """Whether a header `Content-Type` says JSON; a body without the header is taken for JSON."""
    return content_type is None or content_type.partition(";")[0].strip().lower() == "application/json"


def server_error() -> Response[str]:
    """Status 500, without a word of what failed."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something on our side failed. Please try again.")


def invalid_request(faults: Iterable[Mapping[str, Any]]) -> Response[str]:
    """Status 400 for what Pydantic found, each fault with the place it names."""
    errors = [_error(tuple(fault["loc"]), fault["type"], fault["msg"]) for fault in faults]
    summary = "; ".join(f"{error.get('pointer') or error.get('parameter')}: {error['detail']}" for error in errors[:3])
    return problem(HTTPStatus.BAD_REQUEST, f"The request is invalid. {summary}", errors)


def _error(location: tuple[str | int, ...], kind: str, message: str) -> dict[str, str]:
    origin, *path = location or ("body",)
    if kind == "json_invalid":
        return {"pointer": "#", "detail": "the body is not JSON"}
    if origin == "body":
        return {"pointer": "#" + "".join(_step(name) for name in path if name not in PYDANTIC_STEPS), "detail": message}
    return {"parameter": str(path[0] if path else origin), "detail": message}


def _step(name: str | int) -> str:
    """A step of a JSON pointer as a URI fragment (RFC 6901, section 6)."""
    return "/" + quote(str(name).replace("~", "~0").replace("/", "~1"), safe="~")


PYDANTIC_STEPS = frozenset({"<one>", "<batch>", "[key]"})
"""Pydantic names the member of a union it tried, and the key of an entry; callers never wrote these."""


def answer_faults(app: APIGatewayRestResolver, logger: Logger) -> None:
    """Have `app` refuse callers who may not ask, and answer what else it raises, logged by type, as a server error."""

    def refuse(error: NotSignedInError | NotAllowedError) -> Response[str]:
        if isinstance(error, NotSignedInError):
            return problem(HTTPStatus.UNAUTHORIZED, "The Authorization header must hold an ID token of this client.")
        return problem(HTTPStatus.FORBIDDEN, f"You may not do this: {error}.")

    def answer(error: Exception) -> Response[str]:
        logger.error("request failed", extra={"error": type(error).__name__, "route": app.current_event.resource})
        return server_error()

    app.exception_handler([NotSignedInError, NotAllowedError])(refuse)
    app.exception_handler(Exception)(answer)
