"""Takes a batch of records from Kafka and puts their images into the raw bucket."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.ingest.image_topic import ConcurrentBatchProcessor, ImageTopic, TopicIngestion
from imagelake.ingest.kafka_record import lag_of
from imagelake.settings import load

logger = Logger()

METRICS = {
    "stored": metrics.KAFKA_IMAGES_STORED,
    "already_stored": metrics.KAFKA_RECORDS_REPEATED,
    "skipped": metrics.KAFKA_RECORDS_SKIPPED,
    "rejected": metrics.KAFKA_RECORDS_REJECTED,
    "fail": metrics.KAFKA_RECORDS_FAILED,
}


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Answers which records Lambda has to deliver again: `{"batchItemFailures": [...]}`."""
    topic = ImageTopic.of(event, load(TopicIngestion))
    records = [record for partition in event["records"].values() for record in partition]
    with ConcurrentBatchProcessor()(records, topic.take, context) as processor:
        results = processor.process()
    if (lag := lag_of(event["records"].values(), datetime.now(UTC))) is not None:
        emission.add_time(metrics.KAFKA_LAG, lag)
    outcomes = Counter(result if status == "success" else status for status, result, _ in results)
    for outcome, metric in METRICS.items():
        emission.add(metric, outcomes[outcome])
    return processor.response()
