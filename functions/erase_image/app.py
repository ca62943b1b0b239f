"""Erase an image: when its owner asks for it through the API, and whenever the stream says that it has come back."""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.api import problems
from imagelake.errors import unforeseen
from imagelake.model import Tombstone
from imagelake.retention.erasure import Caller, Erasure
from imagelake.settings import load

logger = Logger()
metrics = Metrics()
app = APIGatewayRestResolver()
problems.answer_faults(app, logger)


@app.delete("/images/<image_id>")
def erase_image(image_id: str) -> Response[str]:
    """Erase one image of the caller's, or any image for an operator."""
    erasure, now = load(Erasure), datetime.now(UTC)
    tombstone = erasure.bury(image_id, _caller(), now)
    if tombstone is None:
        return problems.image_not_found()
    erased = erasure.erase(tombstone, now)
    metrics.add_metric("ImagesErased", MetricUnit.Count, 1)
    metrics.flush_metrics()
    logger.info("image erased", extra={"image_id": image_id, **erased})
    return Response(HTTPStatus.NO_CONTENT, "application/json", "")


def _caller() -> Caller:
    """The caller, from the token that the authorizer has checked."""
    claims = app.current_event.request_context.authorizer.claims
    groups = re.split(r"[\s,\[\]]+", claims.get("cognito:groups", ""))  # one string, whoever joined it
    return Caller(claims["sub"], "operators" in groups)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request that API Gateway passed on, or erase what a batch of the stream names; raise to get it again."""
    if "Records" not in event:
        return app.resolve(event, context)
    with unforeseen():
        erasure = load(Erasure)
        batch = DynamoDBStreamModel.model_validate(event).Records
        tombstones = [Tombstone.model_validate(entry.dynamodb.NewImage) for entry in batch]
        for tombstone in tombstones:
            erasure.erase(tombstone, datetime.now(UTC))
    return {"erased": len(tombstones)}
