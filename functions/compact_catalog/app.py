"""Make few files of the many that an hour of the catalog has; called by the hour."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.catalog.compaction import Compactor
from imagelake.errors import Fault, unforeseen
from imagelake.settings import load

logger = Logger()

HOUR_SECONDS = 240.0
"""Of the invocation, kept back for the hour that was begun last."""


@emission.emits
@logger.inject_lambda_context
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return a `compaction.Compaction`; raise once all other hours are done when one has failed."""
    with unforeseen():
        seconds = context.get_remaining_time_in_millis() / 1000 - HOUR_SECONDS
        result = load(Compactor).run(datetime.now(UTC), seconds)
    emission.add(metrics.CATALOG_FILES_COMPACTED, result.files_before)
    emission.add(metrics.CATALOG_FILES_LEFT, result.files_after)
    logger.info("catalog compacted", extra=asdict(result))
    if result.faults:
        raise Fault("; ".join(sorted(set(result.faults.values()))))
    return asdict(result)
