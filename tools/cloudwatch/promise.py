"""The dashboard "Promise": whether images are gone when they should be, and nothing is gone before."""

from typing import Final

from imagelake import metrics
from tools.cloudwatch import functions, templates
from tools.cloudwatch.panels import (
    ASIDE,
    BAD,
    DAY,
    GOOD,
    HOUR,
    NEUTRAL,
    OTHERS,
    REFUSED,
    Alarms,
    Dashboard,
    Line,
    Mark,
    Math,
    Panel,
    Text,
)

FUNCTIONS: Final = (
    "EnforceRetentionFunction",
    "AuditRetentionFunction",
    "EraseImageFunction",
    "ReconcileFunction",
    "RedriveImagesFunction",
    "CompactCatalogFunction",
    "RebuildCatalogFunction",
)
_PURGE: Final = {"StateMachineArn": "${EnforceRetentionStateMachineArn}"}
_PROMISED: Final = "24 * ${RetentionDays} + 2"
"""Hours: an hour is purged within two hours of its days."""

DASHBOARD: Final = Dashboard(
    "promise",
    "-P8D",
    (
        (Alarms("Does an alarm ring?", "PromiseAlarms", height=2),),
        (
            Panel(
                "What is wrong, at worst, in the time that is shown?",
                (
                    Line(metrics.OVERDUE_OBJECTS, "kept too long", "Maximum", colour=BAD),
                    Line(metrics.EARLY_DELETIONS, "deleted too early", "Maximum", colour=BAD),
                    Line(metrics.OTHER_FINDINGS, "other findings", "Maximum", colour=REFUSED),
                    Line(metrics.MEASURES_MISSING, "measures that do not confine scripts", "Maximum", colour=REFUSED),
                ),
                width=12,
                height=3,
                period=HOUR,
                view="singleValue",
            ),
            Panel(
                "What was done, in the time that is shown?",
                (
                    Line(metrics.OBJECTS_PURGED, "objects and items purged", colour=NEUTRAL),
                    Line(metrics.IMAGES_ERASED, "images erased on request", colour=NEUTRAL),
                    Line(metrics.OVERDUE_OBJECTS, "audits", "SampleCount", colour=GOOD),
                ),
                width=12,
                height=3,
                period=HOUR,
                view="singleValue",
            ),
        ),
        (
            Panel(
                "Is anything kept longer than promised, or gone too early?",
                (
                    Line(metrics.OVERDUE_OBJECTS, "kept too long", "Maximum", colour=BAD),
                    Line(metrics.EARLY_DELETIONS, "deleted too early", "Maximum", colour=OTHERS[1]),
                    Line(metrics.OTHER_FINDINGS, "other findings", "Maximum", colour=REFUSED),
                ),
                "of the daily audit",
                period=DAY,
                marks=(Mark(0, "more than 0: an alarm rings"),),
            ),
            Panel(
                "How old is the oldest image?",
                (
                    Line(metrics.OLDEST_OBJECT_AGE_HOURS, "oldest image", "Maximum", colour=NEUTRAL, id="age"),
                    Math(f"TIME_SERIES({_PROMISED})", "promised: OldestObjectAgeAlarm rings above", BAD, "promised"),
                ),
                "hours",
                period=DAY,
            ),
            Panel(
                "Did the audit look every day?",
                (Line(metrics.OVERDUE_OBJECTS, "audits", "SampleCount", colour=GOOD),),
                "a day",
                period=DAY,
                stacked=True,
                marks=(Mark(1, "one a day"),),
            ),
        ),
        (
            Panel(
                "Does the purge run every hour, and end well?",
                (
                    Line(metrics.EXECUTIONS_SUCCEEDED, "ended well", of=_PURGE, colour=GOOD),
                    Line(metrics.EXECUTIONS_FAILED, "failed", of=_PURGE, colour=BAD),
                    Line(metrics.EXECUTIONS_TIMED_OUT, "took too long", of=_PURGE, colour=REFUSED),
                ),
                "runs an hour",
                period=HOUR,
                stacked=True,
                marks=(templates.threshold("PurgeSilentAlarm"),),
            ),
            Panel(
                "What was purged?",
                (Line(metrics.OBJECTS_PURGED, "objects and items", colour=NEUTRAL),),
                "an hour",
                period=HOUR,
                stacked=True,
            ),
            Panel(
                "What was erased on request?",
                (Line(metrics.IMAGES_ERASED, "images", colour=NEUTRAL),),
                "an hour",
                period=HOUR,
                stacked=True,
            ),
        ),
        (
            Panel(
                "Which images were started again, given up, or reported late?",
                (
                    Line(metrics.IMAGES_RESTARTED, "started again", colour=REFUSED),
                    Line(metrics.IMAGES_GIVEN_UP, "given up after three starts", colour=BAD),
                    Line(metrics.IMAGES_REDRIVEN, "redriven by an operator", colour=NEUTRAL),
                    Line(metrics.FAILURES_REPORTED_LATE, "failures reported late", colour=OTHERS[1]),
                ),
                "images an hour",
                period=HOUR,
                stacked=True,
            ),
            Panel(
                "Does compaction work?",
                (
                    Line(metrics.CATALOG_FILES_COMPACTED, "files put together", colour=ASIDE),
                    Line(metrics.CATALOG_FILES_LEFT, "files made of them", colour=NEUTRAL),
                ),
                "files an hour",
                period=HOUR,
            ),
            functions.errors(FUNCTIONS, HOUR),
        ),
        (
            functions.time_limits(FUNCTIONS, HOUR),
            Text(
                "### Where the evidence is\n"
                "Receipts of every purge and erasure are in the bucket `${AuditBucket}` under `receipts/`, the reports "
                "of the daily audit under `reports/`. A report names what is overdue, early or misplaced.\n\n"
                "What each alarm means and what to do is in docs/operations.md, section Retention; what is promised is "
                "in docs/retention.md.",
                width=16,
                height=6,
            ),
        ),
    ),
)
