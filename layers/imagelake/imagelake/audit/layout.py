"""What is promised, and where things belong: the audit's own reading of both."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

GRACE: Final = timedelta(hours=2)
"""What is promised: kept for the days of retention, and gone within this time after them."""
FORGOTTEN_UPLOAD: Final = timedelta(days=1)
SETTLED: Final = timedelta(hours=2)
"""How long an image may take to be in every place where it belongs, retries and reconciliation included."""
SETTLED_HOUR: Final = SETTLED + timedelta(hours=1)
"""How long after its beginning an hour is settled."""
CLOCK_SKEW: Final = timedelta(minutes=15)
"""How far an hour may begin ahead of us: clocks differ."""
EMPTY_BEFORE: Final = timedelta(days=1)
"""How long before an hour begins nothing may lie under it: what is there later is taken for that hour's own."""

_HOUR: Final = r"ingest_date=(\d{4}-\d\d-\d\d)/hour=([01]\d|2[0-3])"
LAYOUT: Final = {
    "raw": re.compile(rf"raw/{_HOUR}/([0-9a-f-]{{36}})", re.ASCII),
    # With the version of what made them, or without, as they were made before versions.
    "derived": re.compile(rf"derived/{_HOUR}/([0-9a-f-]{{36}})/(?:[^/]+/)?[^/]+", re.ASCII),
    "catalog": re.compile(rf"catalog/{_HOUR}/[^/]+\.parquet()", re.ASCII),
    "compaction": re.compile(rf"compaction/{_HOUR}/[^/]+/(?:[^/]+\.parquet|_sources\.json)()", re.ASCII),
}
"""The keys of each root: date, hour, and the image's id where a key has one."""
REHEARSAL: Final = "/rehearsal/"
"""In keys of what a rehearsal of a release left behind: of no image, and gone with its hour."""
PURGE_RECEIPT: Final = re.compile(rf"receipts/purges/{_HOUR}/[^/]+\.json", re.ASCII)
ERASURE_RECEIPT: Final = re.compile(rf"receipts/erasures/{_HOUR}/[^/]+\.json", re.ASCII)
REPORT: Final = re.compile(r"reports/date=\d{4}-\d\d-\d\d/[^/]+\.(?:md|json)", re.ASCII)


@lru_cache(10_000)
def hour_of(ingest_date: str, hour: str) -> datetime | None:
    """The beginning of an hour; None when there is no such hour."""
    try:
        beginning = datetime.strptime(f"{ingest_date}T{hour}", "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        return None
    return beginning if path_of(beginning) == f"ingest_date={ingest_date}/hour={hour}" else None


def path_of(hour: datetime) -> str:
    """An hour as keys spell it, `ingest_date=…/hour=…`."""
    return f"ingest_date={hour:%Y-%m-%d}/hour={hour:%H}"


def name_of(hour: datetime) -> str:
    """An hour as reports spell it."""
    return f"{hour:%Y-%m-%d/%H}"


def hours(age: timedelta) -> float:
    """An age in hours."""
    return age / timedelta(hours=1)
