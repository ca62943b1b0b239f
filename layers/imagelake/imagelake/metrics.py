"""The registry of metrics: all that functions emit, and what alarms and dashboards take from AWS.

`OWN` are in the namespace `ImageLake` and have the dimension `service`, which is the name of the stack. One that has
another dimension too (`by`) is as many billed metrics as that has values, so the values are a closed list. `AWS` are
made by AWS and cost nothing. `imagelake.emission` emits those of `OWN`; `docs/metrics.md` is written from here.
"""

from dataclasses import dataclass
from typing import Final, Literal

from imagelake.engine import own_metrics
from imagelake.engine.reason_codes import Reason

type Unit = Literal["Count", "Milliseconds", "Seconds", "Bytes", "Megabytes", "Percent", "None"]

NAMESPACE: Final = own_metrics.NAMESPACE
SERVICE: Final = "service"
"""The dimension that all of `OWN` have."""
EVERY_FUNCTION: Final = ("every function",)
OTHER: Final = "other"
"""The value of a dimension for what its list does not have."""


@dataclass(frozen=True)
class Metric:
    """A metric of the lake's own.

    Args:
        name: unique in the namespace.
        unit: CloudWatch's word for it; `None` for hours, which it does not know.
        meaning: a sentence.
        emitted_by: names of functions, as their folders.
        by: the dimension besides `service`, if any.
        values: all that `by` can be; empty for versions of a function, of which those of two releases run at most.
    """

    name: str
    unit: Unit
    meaning: str
    emitted_by: tuple[str, ...]
    by: str | None = None
    values: tuple[str, ...] = ()
    namespace: str = NAMESPACE

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return (SERVICE, self.by) if self.by else (SERVICE,)

    @property
    def billed(self) -> int:
        """How many metrics CloudWatch bills for it at a time, at most."""
        return len(self.values) or (2 if self.by else 1)


@dataclass(frozen=True)
class AwsMetric:
    """A metric that AWS makes."""

    namespace: str
    name: str
    unit: Unit
    dimensions: tuple[str, ...]
    meaning: str


# Flow

UPLOADS_REQUESTED: Final = Metric("UploadsRequested", "Count", "Upload forms that were granted.", ("http_api",))
IMAGES_RECEIVED: Final = Metric(
    "ImagesReceived",
    "Count",
    "Images without an outcome that the workflow began with; one that is started again counts again.",
    ("open_image",),
)
DUPLICATES_ABSORBED: Final = Metric(
    "DuplicatesAbsorbed", "Count", "Starts of the workflow for an image that had its outcome.", ("open_image",)
)
IMAGES_PROCESSED: Final = Metric(
    "ImagesProcessed", "Count", "Images with the outcome processed.", ("publish_outcomes",)
)
IMAGES_REJECTED: Final = Metric(
    "ImagesRejected",
    "Count",
    "Images with the outcome rejected, by the code of the reason; `other` is a code of an earlier version.",
    ("publish_outcomes",),
    by="reason",
    values=(*Reason, OTHER),
)
IMAGES_FAILED: Final = Metric(
    "ImagesFailed", "Count", "Images with the outcome failed: a fault outlasted all tries.", ("publish_outcomes",)
)
BYTES_PROCESSED: Final = Metric(
    "BytesProcessed", "Bytes", "Size of each processed image, as it arrived.", ("publish_outcomes",)
)
ARRIVAL_TO_ANSWER: Final = Metric(
    "ArrivalToAnswer",
    "Milliseconds",
    "From the arrival of an image to its outcome in the images table, where that is of the first attempt: not where "
    "the image was started again, redriven, or left to the task for large images.",
    ("publish_outcomes",),
)
LATER_VERSIONS: Final = Metric(
    "LaterVersions",
    "Count",
    "Objects stored a second time under one key: the first version counts, this one is left alone.",
    ("open_image",),
)
STEP_LATENCY: Final = Metric(
    "StepLatency",
    "Milliseconds",
    "Time that a step of an image took, with waiting and retries: `start` from the arrival to the workflow's first "
    "step (S3 tells seconds; of the first attempt only), `process` from there to the engine's answer, `catalog` from "
    "the outcome to its row.",
    ("open_image", "close_image", "write_catalog"),
    by="step",
    values=("start", "process", "catalog"),
)
ARRIVAL_TO_CATALOG: Final = Metric(
    "ArrivalToCatalog",
    "Milliseconds",
    "From the arrival of an image to its row, the window of `CatalogWindowSeconds` included.",
    ("write_catalog",),
)
IMAGES_REDRIVEN: Final = Metric(
    "ImagesRedriven", "Count", "Images that an operator started again.", ("redrive_images",)
)
COLD_STARTS: Final = Metric(
    own_metrics.COLD_STARTS, "Count", "First invocations of a function's process.", EVERY_FUNCTION
)

# The engine

SCRIPT_TIME: Final = Metric(
    "ScriptTime",
    "Milliseconds",
    "Wall time of the process that decodes an image and runs the scripts, as its parent measures it.",
    ("close_image",),
)
SCRIPT_MEMORY: Final = Metric("ScriptMemory", "Megabytes", "Largest resident set of that process.", ("close_image",))
ENGINE_ANSWERS_INVALID: Final = Metric(
    "EngineAnswersInvalid",
    "Count",
    "Answers of the engine that no honest engine gives; the image is rejected, `engine_answer_invalid`.",
    ("close_image",),
)
MEASURES_MISSING: Final = Metric(
    own_metrics.MEASURES_MISSING,
    "Count",
    "How many measures do not confine scripts in this process, once in its life.",
    ("process_image",),
)
ENVIRONMENTS_GIVEN_UP: Final = Metric(
    own_metrics.ENVIRONMENTS_GIVEN_UP,
    "Count",
    "Processes that were replaced because a script did not end normally.",
    ("process_image",),
)
SCRIPT_FAILURES: Final = Metric(
    own_metrics.SCRIPT_FAILURES,
    "Count",
    "Images that were rejected because a script failed, by the version of `process_image`.",
    ("process_image",),
    by=own_metrics.VERSION,
)
SCRIPT_FAILURES_OF_ALL: Final = Metric(
    own_metrics.SCRIPT_FAILURES_OF_ALL,
    "Count",
    "The same, of all versions together: an alarm of CloudWatch cannot add up what it does not know the values of.",
    ("process_image",),
)

# Kafka

KAFKA_IMAGES_STORED: Final = Metric(
    "KafkaImagesStored", "Count", "Records whose image is new in the raw bucket.", ("consume_image_topic",)
)
KAFKA_RECORDS_REPEATED: Final = Metric(
    "KafkaRecordsRepeated", "Count", "Records whose image was there already.", ("consume_image_topic",)
)
KAFKA_RECORDS_SKIPPED: Final = Metric(
    "KafkaRecordsSkipped", "Count", "Records without an image, which are tombstones.", ("consume_image_topic",)
)
KAFKA_RECORDS_REJECTED: Final = Metric(
    "KafkaRecordsRejected",
    "Count",
    "Records that were refused, kept in the bucket of failed records and reported.",
    ("consume_image_topic",),
)
KAFKA_RECORDS_FAILED: Final = Metric(
    "KafkaRecordsFailed",
    "Count",
    "Records that a fault held up; they come again.",
    ("consume_image_topic",),
)

KAFKA_LAG: Final = Metric(
    "KafkaLag",
    "Milliseconds",
    "How far behind its topic a batch is: the age of the newest record, in the partition that is furthest behind; so "
    "the maximum of all batches is that of the worst partition.",
    ("consume_image_topic",),
)

# Catalog

CATALOG_FILES_COMPACTED: Final = Metric(
    "CatalogFilesCompacted",
    "Count",
    "Files of the catalog that compaction put together.",
    ("compact_catalog",),
)
CATALOG_FILES_LEFT: Final = Metric("CatalogFilesLeft", "Count", "Files that it made of them.", ("compact_catalog",))

# Retention

OBJECTS_PURGED: Final = Metric(
    "ObjectsPurged", "Count", "Objects and items that the purge deleted.", ("enforce_retention",)
)
IMAGES_ERASED: Final = Metric(
    "ImagesErased",
    "Count",
    "Erasures that are settled, each once: all is gone, and no form is good any more that could bring it back.",
    ("erase_image",),
)
OVERDUE_OBJECTS: Final = Metric(
    "OverdueObjects", "Count", "What the daily audit found to be kept for longer than promised.", ("audit_retention",)
)
EARLY_DELETIONS: Final = Metric(
    "EarlyDeletions", "Count", "What the audit found to be deleted before its days were over.", ("audit_retention",)
)
OTHER_FINDINGS: Final = Metric(
    "OtherFindings",
    "Count",
    "What the audit found misplaced, incomplete, altered or configured otherwise.",
    ("audit_retention",),
)
OLDEST_OBJECT_AGE_HOURS: Final = Metric(
    "OldestObjectAgeHours",
    "None",
    "Age of the oldest image, from the start of its hour.",
    ("audit_retention",),
)
IMAGES_RESTARTED: Final = Metric(
    "ImagesRestarted", "Count", "Images without an outcome that were started again.", ("reconcile",)
)
IMAGES_GIVEN_UP: Final = Metric(
    "ImagesGivenUp", "Count", "Images that are failed after three such starts.", ("reconcile",)
)
FAILURES_REPORTED_LATE: Final = Metric(
    "FailuresReportedLate",
    "Count",
    "What the dead-letter queue was told a quarter of an hour late or later: failures whose report got lost, and "
    "redrives that came to nothing.",
    ("reconcile",),
)


def reason(code: str) -> str:
    """The value of `IMAGES_REJECTED` for the code of a reason."""
    return code if code in IMAGES_REJECTED.values else OTHER


# AWS's own

_FUNCTION: Final = ("FunctionName",)
_VERSION: Final = ("FunctionName", "Resource")
_WORKFLOW: Final = ("StateMachineArn",)
_STAGE: Final = ("ApiName", "Stage")
_QUEUE: Final = ("QueueName",)

API_REQUESTS: Final = AwsMetric("AWS/ApiGateway", "Count", "Count", _STAGE, "Requests to the API.")
API_REFUSALS: Final = AwsMetric("AWS/ApiGateway", "4XXError", "Count", _STAGE, "Requests that the caller got wrong.")
API_FAULTS: Final = AwsMetric("AWS/ApiGateway", "5XXError", "Count", _STAGE, "Requests that the API got wrong.")
EXECUTIONS_STARTED: Final = AwsMetric("AWS/States", "ExecutionsStarted", "Count", _WORKFLOW, "Runs of a workflow.")
EXECUTIONS_SUCCEEDED: Final = AwsMetric(
    "AWS/States", "ExecutionsSucceeded", "Count", _WORKFLOW, "Runs without a fault."
)
EXECUTIONS_FAILED: Final = AwsMetric("AWS/States", "ExecutionsFailed", "Count", _WORKFLOW, "Runs that failed.")
EXECUTIONS_TIMED_OUT: Final = AwsMetric(
    "AWS/States", "ExecutionsTimedOut", "Count", _WORKFLOW, "Runs that took too long and were ended."
)
FUNCTION_ERRORS: Final = AwsMetric("AWS/Lambda", "Errors", "Count", _FUNCTION, "Invocations that raised or were ended.")
FUNCTION_THROTTLES: Final = AwsMetric(
    "AWS/Lambda", "Throttles", "Count", _FUNCTION, "Invocations refused for want of concurrency."
)
THROTTLES: Final = AwsMetric(
    "AWS/Lambda", "Throttles", "Count", (), "The same, of all functions of the account: they share one limit."
)
CONCURRENT_EXECUTIONS: Final = AwsMetric(
    "AWS/Usage",
    "ResourceCount",
    "None",
    ("Type", "Resource", "Service", "Class"),
    "Of the resource `ConcurrentExecutions`: invocations at the same time, in the whole account.",
)
FUNCTION_DURATION: Final = AwsMetric("AWS/Lambda", "Duration", "Milliseconds", _FUNCTION, "Time of an invocation.")
FUNCTION_INVOCATIONS: Final = AwsMetric("AWS/Lambda", "Invocations", "Count", _FUNCTION, "Invocations of all versions.")
VERSION_INVOCATIONS: Final = AwsMetric(
    "AWS/Lambda", "Invocations", "Count", _VERSION, "Invocations of a version; the resource is `function:version`."
)
VERSION_ERRORS: Final = AwsMetric("AWS/Lambda", "Errors", "Count", _VERSION, "Errors of a version.")
EXECUTED_VERSION_ERRORS: Final = AwsMetric(
    "AWS/Lambda",
    "Errors",
    "Count",
    (*_VERSION, "ExecutedVersion"),
    "Errors of a version that an alias sends a share of the invocations to; the resource is `function:alias`.",
)
VERSION_DURATION: Final = AwsMetric("AWS/Lambda", "Duration", "Milliseconds", _VERSION, "Time of its invocations.")
ITERATOR_AGE: Final = AwsMetric(
    "AWS/Lambda", "IteratorAge", "Milliseconds", _FUNCTION, "Age of the last record of a batch of the stream."
)
MESSAGES_VISIBLE: Final = AwsMetric(
    "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Count", _QUEUE, "Messages that wait in a queue."
)
MESSAGES_SENT: Final = AwsMetric("AWS/SQS", "NumberOfMessagesSent", "Count", _QUEUE, "Messages that came into a queue.")
OLDEST_MESSAGE: Final = AwsMetric(
    "AWS/SQS", "ApproximateAgeOfOldestMessage", "Seconds", _QUEUE, "How long the oldest message has waited."
)

OWN: Final[tuple[Metric, ...]] = tuple(one for one in tuple(globals().values()) if isinstance(one, Metric))
AWS: Final[tuple[AwsMetric, ...]] = tuple(one for one in tuple(globals().values()) if isinstance(one, AwsMetric))
