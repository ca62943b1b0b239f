"""The report of an audit: for people in Markdown, for programs in JSON."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from imagelake.audit.clients import client
from imagelake.audit.findings import Audit
from imagelake.audit.layout import GRACE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def publish(audit: Audit, bucket: str) -> list[str]:
    """Store both forms of the report in the audit bucket.

    Returns:
        Their keys, `reports/date=…/retention-<time>.md` and `.json`.

    Raises:
        ClientError: S3 did not answer, or denied access.
    """
    s3: S3Client = client("s3")
    stem = f"reports/date={audit.as_of:%Y-%m-%d}/retention-{audit.as_of:%H%M%S}"
    forms = {
        f"{stem}.md": (to_markdown(audit), "text/markdown; charset=utf-8"),
        f"{stem}.json": (json.dumps(to_json(audit), indent=2) + "\n", "application/json"),
    }
    for key, (text, content_type) in forms.items():
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType=content_type)
    return list(forms)


def to_json(audit: Audit) -> dict[str, Any]:
    """The report for programs. Ages are hours; `overdue` counts what is still there and what was deleted late."""
    return {
        "as_of": audit.as_of.isoformat(timespec="seconds"),
        "retention_days": audit.retention_days,
        "overdue": audit.overdue,
        "early": audit.early,
        "other": audit.other,
        "oldest_age_hours": round(audit.oldest_age_hours, 2),
        "places": [
            {
                "place": place.name,
                "objects": place.objects,
                "bytes": place.bytes,
                "oldest_age_hours": round(place.oldest_age_hours, 2),
            }
            for place in audit.places.values()
        ],
        "findings": [vars(finding) for finding in audit.findings.values()],
    }


def to_markdown(audit: Audit) -> str:
    """The report for people."""
    promise = f"{audit.retention_days} days, and at most {GRACE.seconds // 3600} hours more"
    verdict = "Everything is as promised." if not audit.findings else f"{len(audit.findings)} findings."
    lines = [
        f"# Retention audit, {_minute(audit.as_of)}",
        "",
        f"Images and rows are kept for {promise}. **{verdict}**",
        "",
        f"Overdue: {audit.overdue}. Too early: {audit.early}. Other findings: {audit.other}.",
        "",
        f"Oldest image or row: {audit.oldest_age_hours:.1f} h. Ages count from the beginning of the hour of arrival.",
        "",
        "| place | objects | bytes | oldest, in hours |",
        "|---|---:|---:|---:|",
        *(
            f"| {place.name} | {place.objects} | {place.bytes} | {place.oldest_age_hours:.1f} |"
            for place in audit.places.values()
        ),
    ]
    for finding in audit.findings.values():
        lines += ["", f"## {finding.kind}: {finding.what} in {finding.place} ({finding.count})", ""]
        lines += [f"- `{name}`" for name in finding.names]
        if finding.count > len(finding.names):
            lines.append("- and more")
    return "\n".join(lines) + "\n"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
