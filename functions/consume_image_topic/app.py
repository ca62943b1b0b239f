"""Takes a batch of records from Kafka and puts their images into the raw bucket."""

from collections import Counter
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.ingest.image_topic import ConcurrentBatchProcessor, ImageTopic, TopicIngestion
from imagelake.settings import load

logger = Logger()
metrics = Metrics()

METRICS = {
    "stored": "KafkaImagesStored",
    "already_stored": "KafkaRecordsRepeated",
    "skipped": "KafkaRecordsSkipped",
    "rejected": "KafkaRecordsRejected",
    "fail": "KafkaRecordsFailed",
}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Answers which records Lambda has to deliver again: `{"batchItemFailures": [...]}`."""
    topic = ImageTopic.of(event, load(TopicIngestion))
    records = [record for partition in event["records"].values() for record in partition]
    with ConcurrentBatchProcessor()(records, topic.take, context) as processor:
        results = processor.process()
    outcomes = Counter(result if status == "success" else status for status, result, _ in results)
    for outcome, name in METRICS.items():
        metrics.add_metric(name, MetricUnit.Count, outcomes[outcome])
    metrics.flush_metrics()
    return processor.response()
