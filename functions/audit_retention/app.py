"""Check that the lake kept its promise, and report; called once a day."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.audit import report
from imagelake.audit.auditor import Auditor
from imagelake.settings import load

logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
def handler(_event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the figures, and the keys of the report in the audit bucket."""
    auditor = load(Auditor)
    result = auditor.run(datetime.now(UTC))
    reports = report.publish(result, auditor.audit_bucket)
    metrics.add_metric("OverdueObjects", MetricUnit.Count, result.overdue)
    metrics.add_metric("EarlyDeletions", MetricUnit.Count, result.early)
    metrics.add_metric("OtherFindings", MetricUnit.Count, result.other)
    metrics.add_metric("OldestObjectAgeHours", MetricUnit.NoUnit, result.oldest_age_hours)
    metrics.flush_metrics()
    answer = {
        "overdue": result.overdue,
        "early": result.early,
        "other": result.other,
        "findings": len(result.findings),
        "reports": reports,
    }
    logger.info("audited", extra=answer)
    return answer
