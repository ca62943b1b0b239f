"""Write what the stream of the images table says into the Parquet catalog; called with batches of its records.

An erasure whose tombstone the stream brings goes on once the rows that came before it are written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel
from aws_lambda_powertools.utilities.parser.models.dynamodb import DynamoDBStreamRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from imagelake import emission, metrics
from imagelake.catalog import parquet
from imagelake.errors import unforeseen
from imagelake.model import DeadLetter, FaultCode, ImageRecord, Tombstone, is_new_outcome
from imagelake.settings import load
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.dead_letters import DeadLetterQueue
from imagelake.stores.functions import Function

logger = Logger()

LATE: Final = timedelta(minutes=30)
"""Well under `compaction.GRACE`: until then, step 2 of a compaction finds a row that its copy has too."""


LOGGED_AT_ONCE: Final = 100
"""Images that a line of the log names: 34 kB at most, of a batch of up to 10,000."""


@dataclass(frozen=True)
class CatalogWriting:
    """Where rows go, what is told of items that nobody can read, and what goes on with erasures."""

    catalog: CatalogTable
    erase_image_function: Function
    dead_letter_queue_url: DeadLetterQueue


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the keys of the files written; raise to get the same batch again."""
    with unforeseen():
        writing = load(CatalogWriting)
        batch = DynamoDBStreamModel.model_validate(event).Records
        tombstones = list(_tombstones(batch, writing.dead_letter_queue_url))
        buried = {entry.dynamodb.Keys["image_id"] for entry in batch if _is_erased(entry)}
        rows = [entry for entry in batch if entry.dynamodb.Keys["image_id"] not in buried and _is_outcome(entry)]
        records = [
            record
            for entry in rows
            if (record := _read(entry, ImageRecord, writing.dead_letter_queue_url)) is not None and _is_kept(record)
        ]
        name = parquet.batch_name(entry.dynamodb.SequenceNumber for entry in batch)
        keys = parquet.write(records, name, writing.catalog, late=_is_late(batch)) if records else []
        # Last: an erasure counts and deletes every row that was written before its tombstone.
        writing.erase_image_function.start_all({"image_id": one.image_id} for one in tombstones if one.unsettled_since)
    _count(rows, records)
    for some in batched(records, LOGGED_AT_ONCE, strict=False):
        images = {"image_ids": [one.image_id for one in some], "correlation_ids": [one.source_ref for one in some]}
        logger.info("rows written", extra=images)
    logger.info("catalog written", extra={"records": len(records), "files": keys, "erased": len(buried)})
    return {"records": len(records), "files": keys}


def _count(rows: list[DynamoDBStreamRecordModel], records: list[ImageRecord]) -> None:
    now = datetime.now(UTC)
    for record in records:
        emission.add_time(metrics.ARRIVAL_TO_CATALOG, now - record.received_at)
    for entry in rows:
        if committed_at := entry.dynamodb.ApproximateCreationDateTime:
            emission.add_time(metrics.STEP_LATENCY, now - committed_at, of="catalog")


def _is_late(batch: list[DynamoDBStreamRecordModel]) -> bool:
    """Whether rows of the batch may be in the catalog already, by a compaction or a rebuild that went ahead."""
    written = [entry.dynamodb.ApproximateCreationDateTime for entry in batch]
    return any(moment is None or datetime.now(UTC) - moment > LATE for moment in written)


def _is_outcome(entry: DynamoDBStreamRecordModel) -> bool:
    item: Any = entry.dynamodb.NewImage
    return is_new_outcome(item or {})


def _is_kept(record: ImageRecord) -> bool:
    """Whether the record's time is not up; where it is, its hour may have been purged already."""
    return record.expires_at > datetime.now(UTC)


def _tombstones(batch: list[DynamoDBStreamRecordModel], dead_letters: DeadLetterQueue) -> Iterator[Tombstone]:
    """Of the images that were erased on request."""
    for entry in batch:
        if _is_erased(entry) and (tombstone := _read(entry, Tombstone, dead_letters)) is not None:
            yield tombstone


def _is_erased(entry: DynamoDBStreamRecordModel) -> bool:
    item: Any = entry.dynamodb.NewImage
    return bool(item and item.get("status") == "erased")


def _read[Item: (ImageRecord, Tombstone)](
    entry: DynamoDBStreamRecordModel, model: type[Item], dead_letters: DeadLetterQueue
) -> Item | None:
    """The item, or None when nobody can read it: then the dead-letter queue has it, and its neighbours go on."""
    item: Any = entry.dynamodb.NewImage
    try:
        return model.model_validate(item or {})
    except ValidationError as error:
        fields = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        dead_letters.report(
            DeadLetter(
                image_id=entry.dynamodb.Keys["image_id"],
                code=FaultCode.UNREADABLE_ITEM,
                reason=f"{FaultCode.UNREADABLE_ITEM}: {', '.join(fields)}",
                step="write_catalog",
                last_at=datetime.now(UTC),
            )
        )
        return None
