"""Write what the stream of the images table says into the Parquet catalog; called with batches of its records."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel
from aws_lambda_powertools.utilities.parser.models.dynamodb import DynamoDBStreamRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from imagelake.catalog import parquet
from imagelake.errors import unforeseen
from imagelake.keys import Partition
from imagelake.model import ImageRecord, Tombstone
from imagelake.settings import WriteCatalogSettings, load
from imagelake.stores import dead_letters

logger = Logger()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the keys of the files written; raise to get the same batch again."""
    with unforeseen():
        settings = load(WriteCatalogSettings)
        batch = DynamoDBStreamModel.model_validate(event).Records
        erased = _erased(batch)
        buried = set().union(*erased.values())
        rows = [entry for entry in batch if entry.dynamodb.Keys["image_id"] not in buried]
        records = [record for entry in rows if (record := _read(entry, settings)) is not None and _is_kept(record)]
        name = parquet.batch_name(entry.dynamodb.SequenceNumber for entry in batch)
        keys = parquet.write(records, name, settings) if records else []
        for partition, image_ids in erased.items():
            parquet.erase(settings.lake_bucket, partition, image_ids)
    logger.info("catalog written", extra={"records": len(records), "files": keys, "erased": len(buried)})
    return {"records": len(records), "files": keys}


def _is_kept(record: ImageRecord) -> bool:
    """Whether the record's time is not up; where it is, its hour may have been purged already."""
    return record.expires_at > datetime.now(UTC)


def _erased(batch: list[DynamoDBStreamRecordModel]) -> dict[Partition, set[str]]:
    """The images that were erased on request, by hour. The stream has them after every row of theirs."""
    erased: dict[Partition, set[str]] = defaultdict(set)
    for entry in batch:
        item: Any = entry.dynamodb.NewImage
        if item and item.get("status") == "erased":
            tombstone = Tombstone.model_validate(item)
            erased[tombstone.raw_key.partition].add(tombstone.image_id)
    return erased


def _read(entry: DynamoDBStreamRecordModel, settings: WriteCatalogSettings) -> ImageRecord | None:
    """The record, or None when nobody can read it: then the dead-letter queue has it, and its neighbours go on."""
    item: Any = entry.dynamodb.NewImage
    try:
        return ImageRecord.model_validate(item or {})
    except ValidationError as error:
        fields = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        reason = f"unreadable_item: {', '.join(fields)}"
        dead_letters.report(
            settings.dead_letter_queue_url,
            {"image_id": entry.dynamodb.Keys["image_id"], "status": "failed", "reason": reason},
        )
        return None
