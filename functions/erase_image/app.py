"""Erase an image: when somebody asks for it through the API, and when its tombstone says that there is more to do."""

import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, get_args

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict

from imagelake import emission, metrics
from imagelake.api import problems
from imagelake.api.callers import Callers, Reach
from imagelake.api.images import MAX_ID
from imagelake.errors import OutOfTime, unforeseen
from imagelake.model import ErasureReason
from imagelake.retention.erasure import Caller, Erased, Erasure
from imagelake.settings import load

logger = Logger()
app = APIGatewayRestResolver()
problems.answer_faults(app, logger)

ANSWER_SECONDS: Final = 15.0
"""For a request until no other file of the catalog is begun; API Gateway waits 29."""
MARGIN_SECONDS: Final = 20.0
"""Of an invocation that nobody waits for, kept back for the file that was begun last, and the receipt."""
PAUSE_SECONDS: Final = 0.2
REASONS: Final = get_args(ErasureReason.__value__)


@app.delete("/images/<image_id>")
def erase_image(image_id: str) -> Response[str]:
    """Erase one image of the caller's, or any image for an operator."""
    if faults := _faults(image_id):
        return problems.invalid_request(faults)
    erasure, now = load(Erasure), datetime.now(UTC)
    tombstone = erasure.bury(image_id, _caller(), now)
    if tombstone is None:
        return problems.image_not_found()
    if tombstone.erased_at != now and erasure.is_under_way(tombstone, now):
        return _answer(HTTPStatus.ACCEPTED)
    erased = erasure.erase(tombstone, now, ANSWER_SECONDS)
    _tell(image_id, erased)
    return _answer(HTTPStatus.NO_CONTENT if erased.finished else HTTPStatus.ACCEPTED)


def _tell(image_id: str, erased: Erased) -> None:
    if erased.is_settled:
        emission.add(metrics.IMAGES_ERASED)
    logger.info("image erased", extra={"image_id": image_id, "finished": erased.finished, **erased.tally.counts()})


def _answer(status: HTTPStatus) -> Response[str]:
    """Without a body: 202 says that the image is gone and its rows are being looked for."""
    return Response(status, "application/json", "")


def _faults(image_id: str) -> list[dict[str, Any]]:
    given = app.current_event.query_string_parameters
    faults = [
        {"loc": ("query", name), "type": "unknown_parameter", "msg": "must be reason"}
        for name in sorted(given.keys() - {"reason"})
    ]
    if given.get("reason", REASONS[0]) not in REASONS:
        faults.append({"loc": ("query", "reason"), "type": "enum", "msg": f"must be one of {', '.join(REASONS)}"})
    if len(image_id) > MAX_ID:
        faults.append(
            {"loc": ("path", "image_id"), "type": "string_too_long", "msg": f"has at most {MAX_ID} characters"}
        )
    return faults


def _caller() -> Caller:
    known = load(Callers).identify(app.current_event)
    reason = app.current_event.query_string_parameters.get("reason", REASONS[0])
    return Caller(known.subject, known.reach is Reach.ANY, reason)


class Request(BaseModel):
    """What `write_catalog` asks for when the stream has a tombstone that has to be worked on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str


def _go_on(image_id: str, context: LambdaContext) -> bool:
    """Erase what a tombstone names, where the image is now; False where there is none that anybody can read."""
    erasure = load(Erasure)
    tombstone = erasure.tombstone(image_id)
    if tombstone is None:
        return False
    while erasure.is_under_way(tombstone, datetime.now(UTC)):
        time.sleep(PAUSE_SECONDS)
    seconds = context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
    erased = erasure.erase(tombstone, datetime.now(UTC), seconds)
    _tell(image_id, erased)
    if not erased.finished:
        raise OutOfTime(0)
    return True


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request that API Gateway passed on, or go on with an erasure; raise to be invoked again."""
    if "image_id" not in event:
        return app.resolve(event, context)
    with unforeseen():
        request = Request.model_validate(event)
        erased = _go_on(request.image_id, context)
    return {"image_id": request.image_id, "erased": erased}
