"""The audit bucket: what the receipts of the purge say, and whether somebody has altered them."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from imagelake.audit.clients import THREADS, client
from imagelake.audit.findings import Audit
from imagelake.audit.layout import EMPTY_BEFORE, ERASURE_RECEIPT, GRACE, PURGE_RECEIPT, REPORT, SETTLED, hour_of, hours

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RECENT: Final = timedelta(days=2)
"""Receipts that are younger are read, whatever hour they are for: nothing that an earlier audit missed is lost."""


def check_evidence(result: Audit, bucket: str, evidence_days: int) -> None:
    """Walk the audit bucket; read the receipts of the last two days, each in all its versions.

    Raises:
        ClientError: S3 did not answer, or denied access.
    """
    recent: list[tuple[str, list[str]]] = []
    for key, versions in groupby(_versions(result, bucket, timedelta(days=evidence_days)), itemgetter("Key")):
        found = list(versions)
        if not any(form.fullmatch(key) for form in (PURGE_RECEIPT, ERASURE_RECEIPT, REPORT)):
            result.report("misplaced", bucket, "an object outside the layout", key)
        elif any(result.as_of - version["LastModified"] <= RECENT for version in found):
            if not REPORT.fullmatch(key):
                recent.append((key, [version["VersionId"] for version in found]))
            elif len(found) > 1:
                result.report("altered", "evidence", "a receipt or report that was overwritten", key)
    with ThreadPoolExecutor(THREADS) as pool:
        bodies = pool.map(lambda one: [_read(bucket, one[0], version_id) for version_id in one[1]], recent)
    counted = set[tuple[str, str]]()
    for (key, _), (newest, *older) in zip(recent, bodies, strict=True):
        # A run of the purge overwrites what it has said itself until it has ended.
        if any(receipt is None or receipt.get("state") != "started" for receipt in older):
            result.report("altered", "evidence", "a receipt or report that was overwritten", key)
        check = _check_receipt if PURGE_RECEIPT.fullmatch(key) else _check_erasure
        try:
            check(result, key, newest or {}, counted)
        except (KeyError, TypeError, ValueError):
            result.report("misplaced", "evidence", "a receipt that cannot be read", key)


def _versions(result: Audit, bucket: str, evidence: timedelta) -> Iterator[Any]:
    """Every version by key, newest first; reports delete markers."""
    s3: S3Client = client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for marker in page.get("DeleteMarkers", []):
            # Lifecycle leaves one when the days of the evidence are over.
            if marker["LastModified"] - _dated(marker["Key"]) < evidence:
                result.report("altered", "evidence", "a receipt or report hidden by a delete marker", marker["Key"])
        yield from page.get("Versions", [])


def _dated(key: str) -> datetime:
    date = re.search(r"date=(\d{4}-\d\d-\d\d)/", key)
    return (hour_of(date[1], "00") if date else None) or datetime.max.replace(tzinfo=UTC)


def _read(bucket: str, key: str, version_id: str) -> dict[str, Any] | None:
    """A receipt; None where it is no JSON object."""
    s3: S3Client = client("s3")
    try:
        receipt = json.loads(s3.get_object(Bucket=bucket, Key=key, VersionId=version_id)["Body"].read())
    except ValueError:
        return None
    return receipt if isinstance(receipt, dict) else None


def _check_erasure(_result: Audit, name: str, receipt: dict[str, Any], _counted: set[tuple[str, str]]) -> None:
    """Check the receipt of an erasure.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    of_image = name.rpartition("/")[2].startswith(f"{receipt['image_id']}-")
    counts = [receipt[one] for one in ("versions", "derivatives", "records", "rows")]
    if not of_image or not all(isinstance(count, int) for count in counts):
        raise ValueError(name)


def _check_receipt(result: Audit, name: str, receipt: dict[str, Any], counted: set[tuple[str, str]]) -> None:
    """Check one receipt; `counted` has the stores and digests of those before.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    store, purged_at = receipt["store"], datetime.fromisoformat(receipt["purged_at"])
    hour = hour_of(receipt["ingest_date"], receipt["hour"])
    if hour is None:
        raise ValueError(receipt["hour"])
    if receipt["state"] == "started":
        if result.as_of - purged_at > SETTLED:
            result.report("incomplete", store, "a run of the purge that was interrupted", name)
        return
    if uncertain := int(receipt.get("uncertain", 0)):
        result.report("incomplete", store, "deletions that may be in no count", name, uncertain)
    objects = int(receipt["objects"])
    if not objects:
        return
    # Keys and versions are in the digest: the same one means the same deletions.
    if (digest := (store, receipt["keys_sha256"])) in counted:
        result.report("incomplete", store, "two receipts have the same digest", name, objects)
    counted.add(digest)
    if store in ("awaited_uploads", "tombstones"):
        return
    if store == "items" or hour > purged_at + EMPTY_BEFORE:  # what is dated in the future goes by its own age
        newest = receipt["newest_age_hours"]
        is_early = newest is not None and newest < hours(result.retention)
    else:  # but before its hour begins in any case
        is_early = hour <= purged_at < hour + timedelta(hours=1) + result.retention
    if is_early:
        result.report("early", store, "deleted before its days were over", name, objects)
    if purged_at > hour + result.retention + GRACE:
        result.report("late", store, "deleted later than promised", name, objects)
