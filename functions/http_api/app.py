"""The HTTP API: forms for uploads, and what became of an image."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from imagelake import emission, metrics
from imagelake.api import problems, uploads
from imagelake.api.callers import Caller, Callers
from imagelake.api.images import MAX_ID, ShownImages
from imagelake.api.uploads import UploadBatch, Uploads
from imagelake.errors import InvalidCursorError, NotAllowedError
from imagelake.model import SUBJECT, Status
from imagelake.settings import load
from imagelake.stores.images_table import Listing

logger = Logger()
app = APIGatewayRestResolver(enable_validation=True)
problems.answer_faults(app, logger)


def _parse_time(text: str) -> datetime:
    """RFC 3339, and nothing else that Pydantic would take, such as seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
        in_utc = moment.astimezone(UTC) if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):  # it is a list where it is given twice
        in_utc = None
    if in_utc is None:
        raise PydanticCustomError("time", "must be one time with its zone, such as 2026-11-22T09:00:00Z; + is %2B")
    return in_utc


type TimeParameter = Annotated[datetime, BeforeValidator(_parse_time)]


@app.post("/uploads")
def request_upload() -> Response[Any]:
    """Forms for one image or a batch."""
    caller, request_id = _caller(), app.current_event.request_context.request_id
    if not problems.is_json(app.current_event.headers.get("content-type")):
        return problems.unsupported_media_type()
    body = uploads.parse(app.current_event)
    requests = body.uploads if isinstance(body, UploadBatch) else [body]
    answers = load(Uploads).request(requests, caller, request_id, datetime.now(UTC))
    emission.add(metrics.UPLOADS_REQUESTED, len(answers))
    granted = {"correlation_id": request_id, "image_ids": [one["image_id"] for one in answers]}
    logger.info("uploads granted", extra=granted)
    answer = {"uploads": answers} if isinstance(body, UploadBatch) else answers[0]
    return Response(HTTPStatus.CREATED, "application/json", answer)


@app.get("/images/<image_id>")
def get_image(image_id: Annotated[str, Path(max_length=MAX_ID)]) -> Response[Any]:
    """One image of the caller's, or any image for an operator."""
    image = load(ShownImages).find(image_id, _caller())
    return Response(HTTPStatus.OK, "application/json", image) if image else problems.image_not_found()


@app.get("/images")
def list_images(
    status: Annotated[Status | None, Query()] = None,
    source: Annotated[str | None, Query(max_length=64)] = None,
    received_from: Annotated[TimeParameter | None, Query(alias="from")] = None,
    received_to: Annotated[TimeParameter | None, Query(alias="to")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    uploader: Annotated[str | None, Query(pattern=SUBJECT)] = None,
) -> dict[str, Any]:
    """The caller's images, newest first, or those of another uploader for an operator."""
    _refuse_other_parameters("status", "source", "from", "to", "limit", "cursor", "uploader")
    caller = _caller()
    if not caller.may_see(uploader or caller.subject):
        raise NotAllowedError.but_for(["operators"])
    if received_from and received_to and received_from > received_to:
        raise RequestValidationError([{"loc": ("query", "from"), "type": "time_span", "msg": "must not be after to"}])
    images = load(ShownImages)
    stored_status = "awaiting_upload" if status == "processing" else status
    listing = Listing(uploader or caller.subject, stored_status, source, received_from, received_to)
    page = images.images_table.list_images(listing, limit, cursor)
    shown = images.show(page.items, caller)
    return {"images": [image for image in shown if status in (None, image["status"])], "cursor": page.cursor}


def _refuse_other_parameters(*names: str) -> None:
    """A filter that is misspelt would be a filter without effect."""
    if unknown := app.current_event.resolved_query_string_parameters.keys() - {*names}:
        detail = f"must be one of {', '.join(names)}"
        faults = [{"loc": ("query", name), "type": "unknown_parameter", "msg": detail} for name in sorted(unknown)]
        raise RequestValidationError(faults)


def _caller() -> Caller:
    return load(Callers).identify(app.current_event)


@app.exception_handler(RequestValidationError)
def _invalid_request(error: RequestValidationError) -> Response[str]:
    return problems.invalid_request(error.errors())


@app.exception_handler(InvalidCursorError)
def _invalid_cursor(error: InvalidCursorError) -> Response[str]:
    return problems.invalid_request([{"loc": ("query", "cursor"), "type": "cursor", "msg": str(error)}])


@app.exception_handler(NotFoundError)
def _not_found(error: NotFoundError) -> Response[str]:
    return problems.problem(HTTPStatus.NOT_FOUND, str(error.msg))


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request that API Gateway passed on."""
    return app.resolve(event, context)
