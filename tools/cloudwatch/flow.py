"""The dashboard "Flow": whether images flow, what goes wrong, how near limits are, and what it costs."""

from typing import Final

from imagelake import metrics
from tools.cloudwatch import functions, prices, templates
from tools.cloudwatch.panels import (
    ASIDE,
    BAD,
    GOOD,
    HOUR,
    MINUTE,
    NEUTRAL,
    OTHERS,
    REFUSED,
    Alarms,
    Dashboard,
    Each,
    Line,
    Mark,
    Math,
    Panel,
    Text,
)

FUNCTIONS: Final = (
    "HttpApiFunction",
    "OpenImageFunction",
    "ProcessImageFunction",
    "CloseImageFunction",
    "WriteCatalogFunction",
    "PublishOutcomesFunction",
    "ConsumeImageTopicFunction",
)
"""On an image's way; the others are on the dashboard Promise."""
_API: Final = {"ApiName": "${LakeName}", "Stage": "v1"}
_INGEST: Final = {"StateMachineArn": "${IngestImageStateMachineArn}"}
_DEAD_LETTERS: Final = {"QueueName": "${DeadLetterQueueName}"}
_REJECTIONS: Final = {"QueueName": "${RejectionsQueueName}"}
_CONCURRENCY: Final = {"Type": "Resource", "Resource": "ConcurrentExecutions", "Service": "Lambda", "Class": "None"}


def _age(function: str, known: str) -> Line:
    """How old the last record is that a function gets of the stream."""
    return Line(metrics.ITERATOR_AGE, "", "Maximum", functions.named(function), id=known, is_shown=False)


def _cost() -> tuple[Line | Math, ...]:
    """Dollars an hour, by what they are for."""
    times = tuple(
        Line(
            metrics.FUNCTION_DURATION,
            "",
            of=functions.named(one),
            id=f"d{number}",
            is_shown=False,
        )
        for number, one in enumerate(FUNCTIONS)
    )
    by_memory: dict[str, list[str]] = {}
    for number, one in enumerate(FUNCTIONS):
        by_memory.setdefault(templates.memory_gb(one), []).append(f"d{number}")
    spent = " + ".join(f"SUM([{', '.join(some)}]) * {memory}" for memory, some in by_memory.items())
    return (
        *times,
        Line(metrics.IMAGES_RECEIVED, "", id="images", is_shown=False),
        Line(metrics.API_REQUESTS, "", of=_API, id="requests", is_shown=False),
        Math(f"({spent}) / 1000 * {prices.FUNCTION_GB_SECOND:.10f}", "time of functions", OTHERS[0], "c0"),
        Math(f"images * {prices.IMAGE_REQUESTS:.7f}", "requests to S3 and table", OTHERS[1], "c1"),
        Math(f"images * {prices.WORKFLOW_RUN:.8f}", "workflow", OTHERS[2], "c2"),
        Math(f"requests * {prices.API_REQUEST:.7f}", "API", OTHERS[3], "c3"),
    )


DASHBOARD: Final = Dashboard(
    "flow",
    "-PT3H",
    (
        (Alarms("Does an alarm ring?", "FlowAlarms"),),
        (
            Panel(
                "How many images, in the time that is shown?",
                (
                    Line(metrics.UPLOADS_REQUESTED, "upload forms granted", colour=ASIDE),
                    Line(metrics.KAFKA_IMAGES_STORED, "from Kafka", colour=ASIDE),
                    Line(metrics.IMAGES_RECEIVED, "received", colour=NEUTRAL),
                    Line(metrics.IMAGES_PROCESSED, "processed", colour=GOOD),
                    Line(metrics.IMAGES_FAILED, "failed", colour=BAD),
                ),
                width=18,
                height=3,
                view="singleValue",
            ),
            Panel(
                "How many dead letters wait, at most?",
                (Line(metrics.MESSAGES_VISIBLE, "dead letters", "Maximum", _DEAD_LETTERS, BAD),),
                width=6,
                height=3,
                view="singleValue",
            ),
        ),
        (
            Panel(
                "What becomes of images?",
                (
                    Line(metrics.IMAGES_RECEIVED, "received", colour=NEUTRAL),
                    Line(metrics.IMAGES_PROCESSED, "processed", colour=GOOD),
                    Math(f"SUM({Each(metrics.IMAGES_REJECTED).search(MINUTE)})", "rejected", REFUSED, "rejected"),
                    Line(metrics.IMAGES_FAILED, "failed", colour=BAD),
                ),
                "images a minute",
            ),
            Panel("Why are images rejected?", (Each(metrics.IMAGES_REJECTED),), "images a minute", stacked=True),
            Panel(
                "What came twice?",
                (
                    Line(metrics.DUPLICATES_ABSORBED, "started with an outcome", colour=OTHERS[0]),
                    Line(metrics.LATER_VERSIONS, "uploaded twice", colour=OTHERS[1]),
                    Line(metrics.KAFKA_RECORDS_REPEATED, "Kafka records repeated", colour=OTHERS[2]),
                ),
                "images a minute",
                stacked=True,
            ),
        ),
        (
            Panel(
                "How long until an image has its outcome, and SQL its row?",
                (
                    Line(metrics.ARRIVAL_TO_ANSWER, "", "p50", id="half", is_shown=False),
                    Line(metrics.ARRIVAL_TO_ANSWER, "", "p95", id="most", is_shown=False),
                    Line(metrics.ARRIVAL_TO_CATALOG, "", "p95", id="rows", is_shown=False),
                    Math("half / 1000", "outcome, half of them", NEUTRAL, "halfs"),
                    Math("most / 1000", "outcome, 95 of 100", REFUSED, "mosts"),
                    Math("rows / 1000", "row, 95 of 100", OTHERS[1], "rowss"),
                ),
                "seconds",
                marks=(templates.threshold("SlowAnswersAlarm", thousand=True),),
            ),
            Panel(
                "Which step takes the time?",
                tuple(
                    one
                    for number, step in enumerate(metrics.STEP_LATENCY.values)
                    for one in (
                        Line(metrics.STEP_LATENCY, "", "Average", {"step": step}, id=f"l{number}", is_shown=False),
                        Math(f"l{number} / 1000", step, OTHERS[number], f"s{number}"),
                    )
                ),
                "seconds, average",
                stacked=True,
            ),
            Panel(
                "Are rows, events or Kafka behind?",
                (
                    _age("WriteCatalogFunction", "rows"),
                    _age("PublishOutcomesFunction", "events"),
                    Line(metrics.KAFKA_LAG, "", "Maximum", id="lag", is_shown=False),
                    Math("rows / 1000", "rows", NEUTRAL, "rowss"),
                    Math("events / 1000", "events of outcomes", OTHERS[2], "eventss"),
                    Math("lag / 1000", "Kafka", OTHERS[1], "lags"),
                ),
                "seconds, the oldest",
                marks=(templates.threshold("CatalogBehindAlarm", thousand=True),),
            ),
        ),
        (
            Panel(
                "What waits in the queues?",
                (
                    Line(metrics.MESSAGES_VISIBLE, "dead letters", "Maximum", _DEAD_LETTERS, BAD),
                    Line(metrics.MESSAGES_VISIBLE, "rejections", "Maximum", _REJECTIONS, REFUSED),
                    Line(metrics.OLDEST_MESSAGE, "", "Maximum", _REJECTIONS, id="oldest", is_shown=False),
                    Math("oldest / 3600", "hours of the oldest rejection", ASIDE, "hours"),
                ),
                "messages; hours",
            ),
            Panel(
                "Do calls to the API fail?",
                (
                    Line(metrics.API_REQUESTS, "requests", of=_API, colour=ASIDE),
                    Line(metrics.API_REFUSALS, "4xx: the caller's fault", of=_API, colour=REFUSED),
                    Line(metrics.API_FAULTS, "5xx: ours", of=_API, colour=BAD),
                ),
                "requests a minute",
            ),
            functions.errors(FUNCTIONS, MINUTE),
        ),
        (
            Panel(
                "Does the workflow finish what it starts?",
                (
                    Line(metrics.EXECUTIONS_SUCCEEDED, "runs that ended", of=_INGEST, colour=GOOD),
                    Line(metrics.EXECUTIONS_FAILED, "runs that failed", of=_INGEST, colour=BAD),
                    Line(metrics.EXECUTIONS_TIMED_OUT, "runs that took too long", of=_INGEST, colour=OTHERS[1]),
                ),
                "runs a minute",
            ),
            Panel(
                "What became of Kafka records?",
                (
                    Line(metrics.KAFKA_IMAGES_STORED, "stored", colour=GOOD),
                    Line(metrics.KAFKA_RECORDS_SKIPPED, "skipped: tombstones", colour=ASIDE),
                    Line(metrics.KAFKA_RECORDS_REJECTED, "rejected", colour=REFUSED),
                    Line(metrics.KAFKA_RECORDS_FAILED, "failed, and come again", colour=BAD),
                ),
                "records a minute",
                stacked=True,
            ),
            Panel(
                "How much is processed?",
                (
                    Line(metrics.BYTES_PROCESSED, "", id="bytes", is_shown=False),
                    Math("bytes / 1000000", "files as they arrived", NEUTRAL, "megabytes"),
                ),
                "MB a minute",
            ),
        ),
        (
            Panel(
                "How near is the account to its limit of concurrency?",
                (
                    Line(metrics.CONCURRENT_EXECUTIONS, "", "Maximum", _CONCURRENCY, id="running", is_shown=False),
                    Math("100 * running / SERVICE_QUOTA(running)", "all functions of the account", NEUTRAL, "share"),
                    Line(metrics.THROTTLES, "invocations refused for it", colour=BAD),
                ),
                "% of it; refusals",
                marks=(Mark(100, "nothing more is started"),),
            ),
            functions.time_limits(FUNCTIONS, MINUTE),
            Panel(
                "How near do scripts come to their memory?",
                (
                    Line(metrics.SCRIPT_MEMORY, "", "Maximum", id="largest", is_shown=False),
                    Line(metrics.SCRIPT_MEMORY, "", "p50", id="half", is_shown=False),
                    Math("100 * largest / ${ProcessMemoryMb}", "largest", REFUSED, "largests"),
                    Math("100 * half / ${ProcessMemoryMb}", "half of them", NEUTRAL, "halfs"),
                ),
                "% of process_image",
                marks=(Mark(100, "all of the function"),),
            ),
        ),
        (
            Panel(
                "How long do scripts take?",
                (
                    Line(metrics.SCRIPT_TIME, "", "p50", id="half", is_shown=False),
                    Line(metrics.SCRIPT_TIME, "", "p95", id="most", is_shown=False),
                    Math("half / 1000", "half of them", NEUTRAL, "halfs"),
                    Math("most / 1000", "95 of 100", REFUSED, "mosts"),
                ),
                "seconds",
            ),
            Panel(
                "Do scripts misbehave?",
                (
                    Line(metrics.ENVIRONMENTS_GIVEN_UP, "processes given up", colour=REFUSED),
                    Line(metrics.ENGINE_ANSWERS_INVALID, "answers nobody honest gives", colour=BAD),
                    Line(metrics.COLD_STARTS, "cold starts of functions", colour=ASIDE),
                ),
                "a minute",
            ),
            Panel(
                "What does it cost, about?",
                _cost(),
                "dollars an hour",
                period=HOUR,
                stacked=True,
            ),
        ),
        (
            Text(
                "Costs are an estimate at list prices of us-east-1, without free allowances: "
                f"${prices.FUNCTION_GB_SECOND:.7f} a GB-second of functions, ${prices.API_REQUEST * 1e6:.2f} a million "
                f"requests to the API, ${prices.WORKFLOW_RUN * 1e6:.2f} a million runs of the workflow, "
                f"${prices.IMAGE_REQUESTS * 1e6:.2f} a million images for requests to S3 and table. What each graph "
                "means and what to do is in docs/operations.md, section Watch."
            ),
        ),
    ),
)
