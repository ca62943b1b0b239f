"""Write what the stream of the images table says into the Parquet catalog; called with batches of its records."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel
from aws_lambda_powertools.utilities.parser.models.dynamodb import DynamoDBStreamRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from imagelake import catalog, dead_letters
from imagelake.errors import unforeseen
from imagelake.model import ImageRecord
from imagelake.settings import WriteCatalogSettings, load

logger = Logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the keys of the files written; raise to get the same batch again."""
    with unforeseen():
        settings = load(WriteCatalogSettings)
        batch = DynamoDBStreamModel.model_validate(event).Records
        records = [record for entry in batch if (record := _read(entry, settings)) is not None]
        name = catalog.batch_name(entry.dynamodb.SequenceNumber for entry in batch)
        keys = catalog.write(records, name, settings) if records else []
    logger.info("catalog written", extra={"records": len(records), "files": keys})
    return {"records": len(records), "files": keys}


def _read(entry: DynamoDBStreamRecordModel, settings: WriteCatalogSettings) -> ImageRecord | None:
    """The record, or None when nobody can read it: then the dead-letter queue has it, and its neighbours go on."""
    try:
        return ImageRecord.model_validate(entry.dynamodb.NewImage)
    except ValidationError as error:
        fields = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        reason = f"unreadable_item: {', '.join(fields)}"
        dead_letters.report(
            settings.dead_letter_queue_url,
            {"image_id": entry.dynamodb.Keys["image_id"], "status": "failed", "reason": reason},
        )
        return None
