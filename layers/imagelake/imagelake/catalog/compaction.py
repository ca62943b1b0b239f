"""Compaction: the many small files of an hour become few, and no reader ever misses a row or sees one twice.

S3 cannot replace several files at once, but Glue can move a partition. So an hour that takes no more images is
compacted in steps, far enough apart for the queries that began before each to end:

1. All rows are copied under `compaction/`, merged; the partition is moved there.
2. Nobody reads the small files any more. The merged ones take their place, and the partition is moved back.
3. Nobody reads the copy any more. It is deleted.

What to do next is read from Glue and S3, so a run that was interrupted or came twice does no harm. Rows that come late
are written beside the small files and seen after step 2, unless the copy has them too. Rows that are erased meanwhile
stay erased: before a partition moves, what was copied is compared with what is there.

`rebuild` begins with step 1 as well, with rows of the images table in the copy; the other steps follow here.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from imagelake.catalog import parquet
from imagelake.errors import Fault, InvalidKeyError
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.stores.buckets import Bucket, StoredObject
from imagelake.stores.catalog_table import CatalogTable, Registered

GRACE: Final = timedelta(minutes=50)
"""For queries under way to end before files they may be reading go; Athena's own limit is 30 minutes."""
FILE_BYTES: Final = 128 * 1024 * 1024
"""About how large files become: large enough to read at full speed, small enough to be read side by side."""
DUE_MARGIN: Final = timedelta(hours=4)
"""An hour that is purged this soon is left to the purge."""
DOWNLOADS: Final = 16
_SOURCES: Final = "_sources.json"  # queries pass over what begins with an underscore

type Step = Literal["merged", "replaced", "cleaned"]


@dataclass
class Compaction:
    """What a run did: hours by step, files before and after, faults by hour, and hours left for lack of time."""

    hours: dict[Step, int] = field(default_factory=lambda: {"merged": 0, "replaced": 0, "cleaned": 0})
    files_before: int = 0
    files_after: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    postponed: int = 0


@dataclass(frozen=True)
class _Hour:
    """An hour with the files of its catalog and those of its copies."""

    registered: Registered
    files: Sequence[StoredObject]
    copies: Sequence[StoredObject]

    @property
    def arrival_hour(self) -> ArrivalHour:
        return self.registered.hour

    @property
    def is_moved(self) -> bool:
        return self.registered.prefix.startswith(compaction_prefix(self.arrival_hour))

    @property
    def is_fragmented(self) -> bool:
        """Whether two files or more are well under the size they could have."""
        return sum(file.bytes < FILE_BYTES / 2 for file in self.files) > 1


@dataclass(frozen=True)
class Compactor:
    """Compaction of a stack's catalog, as its template describes it."""

    catalog: CatalogTable
    retention_days: int

    def run(self, now: datetime, seconds: float) -> Compaction:
        """Take every hour that has a step before it one step on, oldest first, as far as `seconds` allow.

        Raises:
            Fault: S3 or Glue did not answer or denied access, when asked what there is to do.
        """
        deadline, result = time.monotonic() + seconds, Compaction()
        for hour in self._hours(now):
            step = _next_step(hour, now)
            if step is None:
                continue
            if time.monotonic() > deadline:
                result.postponed += 1
                continue
            try:
                _take(step, hour, self.catalog, now, result)
            except Fault as fault:  # the next run finds the hour as it is
                result.faults[hour.arrival_hour.path] = str(fault)
        return result

    def _hours(self, now: datetime) -> list[_Hour]:
        files, copies = (_by_hour(self.catalog.lake_bucket, root) for root in ("catalog/", "compaction/"))
        found = [
            _Hour(registered, files[registered.hour], copies[registered.hour])
            for registered in self.catalog.registered(ArrivalHour.of(now))
        ]
        last_moment = timedelta(days=self.retention_days) - DUE_MARGIN
        return sorted(
            (hour for hour in found if hour.arrival_hour.closed_at <= now < hour.arrival_hour.start + last_moment),
            key=lambda hour: hour.arrival_hour,
        )


def _by_hour(bucket: Bucket, root: str) -> dict[ArrivalHour, list[StoredObject]]:
    found: dict[ArrivalHour, list[StoredObject]] = defaultdict(list)
    for file in bucket.objects(root):
        try:
            found[ArrivalHour.parse("/".join(file.key.split("/")[1:3]))].append(file)
        except InvalidKeyError:  # outside the layout: for the auditor to report
            continue
    return found


def _next_step(hour: _Hour, now: datetime) -> Step | None:
    moved_at = hour.registered.moved_at
    if moved_at and now - moved_at < GRACE:
        return None
    if hour.is_moved:
        return "replaced"
    if any(_is_forsaken(copy, now) for copy in hour.copies):
        return "cleaned"
    return "merged" if hour.is_fragmented and not hour.copies else None


def _take(step: Step, hour: _Hour, table: CatalogTable, now: datetime, result: Compaction) -> None:
    if step == "merged":
        merge(hour.arrival_hour, table, lambda copy: _move(hour, copy, table, now))
    elif step == "replaced":
        result.files_after += _replace(hour, table, now)
        result.files_before += len(hour.files)
    else:
        forsaken = [copy.key for copy in hour.copies if _is_forsaken(copy, now)]
        table.lake_bucket.delete(forsaken)
    result.hours[step] += 1


def _is_forsaken(copy: StoredObject, now: datetime) -> bool:
    """Whether no other run still makes the copy, of an hour that is where its keys say."""
    return now - copy.last_modified > GRACE


def merge(
    hour: ArrivalHour,
    table: CatalogTable,
    move: Callable[[str], None],
    beside: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
) -> None:
    """Step 1: copy all rows of an hour, each once, and have queries find the copy.

    Args:
        hour: which.
        table: of the catalog.
        move: has queries find the files under a prefix.
        beside: prefixes with more files of the hour, whose rows go into the copy too.
        check: is called once the copy is there, before queries find it.

    Raises:
        Fault: S3 or Glue did not answer, or denied access, or others kept changing the files.
    """
    bucket = table.lake_bucket
    for _ in range(parquet.REPLACEMENTS):
        sources = list(bucket.objects(catalog_prefix(hour)))
        others = [[file for file in bucket.objects(prefix) if file.key.endswith(".parquet")] for prefix in beside]
        read = [*sources, *(file for some in others for file in some)]
        copy = f"{compaction_prefix(hour)}{parquet.batch_name(f'{file.key} {file.etag}' for file in read)}/"
        with tempfile.TemporaryDirectory() as folder:
            files = download(bucket, read, Path(folder))
            if files is None:
                continue
            for number, merged in enumerate(parquet.merge(files, Path(folder), FILE_BYTES)):
                bucket.overwrite(f"{copy}{parquet.merged_name(copy, number)}", merged.read_bytes(), parquet.PARQUET)
        keys = json.dumps([source.key for source in sources]).encode()
        bucket.overwrite(f"{copy}{_SOURCES}", keys, "application/json")
        check()
        if all(_are_unchanged(bucket, some) for some in (sources, *others)):
            move(copy)
            return
        # What has changed may be that rows were erased: they must not stay here.
        bucket.delete(bucket.keys(copy))
    raise Fault("ConcurrentReplacement on PutObject")


def _replace(hour: _Hour, table: CatalogTable, now: datetime) -> int:
    """Step 2; returns how many files the hour has now."""
    bucket, copy, target = table.lake_bucket, hour.registered.prefix, catalog_prefix(hour.arrival_hour)
    sources = sources_of(bucket, copy)
    if sources is None:
        raise Fault("NoSuchKey on GetObject")
    for _ in range(parquet.REPLACEMENTS):
        merged = [file for file in bucket.objects(copy) if file.key.endswith(".parquet")]
        names = {file.key: target + file.key.rpartition("/")[2] for file in merged}
        if not _take_out_known(bucket, target, {*sources, *names.values()}, list(names)):
            continue
        copied = [bucket.copy(file.key, names[file.key], file.etag) for file in merged]
        if all(copied) and _are_unchanged(bucket, merged):
            bucket.delete(sources)
            _move(hour, target, table, now)
            return len(bucket.keys(target))
    raise Fault("ConcurrentReplacement on CopyObject")


def _move(hour: _Hour, prefix: str, table: CatalogTable, now: datetime) -> None:
    """Have queries find an hour under `prefix`, and with it what a rebuild has brought back since this run found it.

    Glue moves a partition whatever became of it meanwhile, so this may undo the move of a rebuild. But a rebuild stores
    its copy before it moves: the copy is here, and is merged with the rest once more.
    """
    table.move(hour.arrival_hour, prefix, now)
    known = {_folder(copy) for copy in hour.copies} | {prefix}
    copies = table.lake_bucket.objects(compaction_prefix(hour.arrival_hour))
    made = {_folder(copy) for copy in copies if copy.key.endswith(f"/{_SOURCES}")} - known
    if made:
        merge(hour.arrival_hour, table, lambda copy: table.move(hour.arrival_hour, copy, now), sorted(made))


def _folder(file: StoredObject) -> str:
    return file.key.rpartition("/")[0] + "/"


def sources_of(bucket: Bucket, copy: str) -> list[str] | None:
    """The keys of the files whose place the files of a copy take, or None when nobody knows.

    Raises:
        Fault: S3 did not answer, or denied access.
    """
    manifest = bucket.read(f"{copy}{_SOURCES}")
    return [str(key) for key in json.loads(manifest[0])] if manifest else None


def _take_out_known(bucket: Bucket, prefix: str, expected: set[str], copy: Sequence[str]) -> bool:
    """Take the rows that the copy has out of the files that came late, which nobody reads yet.

    Returns:
        False when somebody else has replaced one of them meanwhile.
    """
    for file in list(bucket.objects(prefix)):
        found = None if file.key in expected else bucket.read(file.key)
        if found:
            content, known = parquet.without_known(found[0], bucket, copy)
            if known and not bucket.replace(file.key, content, parquet.PARQUET, found[1]):
                return False
    return True


def download(bucket: Bucket, sources: Sequence[StoredObject], folder: Path) -> list[Path] | None:
    """The files of `sources`, or None when one of them is gone."""

    files = [folder / f"{number}.parquet" for number in range(len(sources))]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        found = pool.map(lambda source, file: bucket.download(source.key, file), sources, files)
        return files if all(found) else None


def _are_unchanged(bucket: Bucket, files: Sequence[StoredObject]) -> bool:
    """Whether all of `files` are as they were; others may have come beside them."""
    return not files or set(files) <= set(bucket.objects(files[0].key.rpartition("/")[0] + "/"))
