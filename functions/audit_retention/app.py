"""Check that the lake kept its promise, and report; called once a day."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.audit import report
from imagelake.audit.auditor import Auditor
from imagelake.settings import load

logger = Logger()


@emission.emits
@logger.inject_lambda_context
def handler(_event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the figures, and the keys of the report in the audit bucket."""
    auditor = load(Auditor)
    result = auditor.run(datetime.now(UTC))
    reports = report.publish(result, auditor.audit_bucket)
    emission.add(metrics.OVERDUE_OBJECTS, result.overdue)
    emission.add(metrics.EARLY_DELETIONS, result.early)
    emission.add(metrics.OTHER_FINDINGS, result.other)
    emission.add(metrics.OLDEST_OBJECT_AGE_HOURS, result.oldest_age_hours)
    answer = {
        "overdue": result.overdue,
        "early": result.early,
        "other": result.other,
        "findings": len(result.findings),
        "reports": reports,
    }
    logger.info("audited", extra=answer)
    return answer
