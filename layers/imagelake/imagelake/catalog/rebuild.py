"""Rebuilding: the rows that an hour of the catalog has lost come back from the images table.

The index of expiring items says which images arrived in the hour, the files say which of them have a row. Items without
a row are read in slices, and each slice is stored as a file under `compaction/`, where no query looks; so a run that is
out of time, or is interrupted, goes on with what is missing then. When nothing is missing any more, the slices and the
files of the hour are merged into a copy, and the partition is moved there as for compaction; `compact_catalog` does the
rest. So queries see the hour as it was until they see it whole.

Beside it, rows may be

- written: `write_catalog` leaves a row out that comes late and is in the copy already, and step 2 of compaction takes
  out what came before the copy was there;
- erased: the items whose rows come back are read again once the copy is there. One that was erased before has a
  tombstone then, and one that is erased later is erased from the copy;
- compacted: files that changed while they were merged are merged again;
- purged: an hour that is about to be purged is left alone.
"""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ValidationError

from imagelake.catalog import compaction, parquet
from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, catalog_prefix, compaction_prefix
from imagelake.model import ImageRecord
from imagelake.stores.buckets import StoredObject
from imagelake.stores.catalog_table import CatalogTable, Registered
from imagelake.stores.images_table import BATCH_ITEMS, OUTCOMES, ImagesTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SLICE_ROWS: Final = 20_000
"""Items that are in memory at once."""
READERS: Final = 8
_SLICES: Final = "rebuild/"

type State = Literal["complete", "incomplete", "rebuilt", "open", "due"]
"""`complete`: no row is missing. `incomplete`: rows are missing, and this was a dry run, the time is up, or nothing can
bring them back. `open`: images of the hour may still arrive. `due`: the hour is about to be purged. Of the last two
nothing was looked at."""


@dataclass(frozen=True)
class Rebuilt:
    """What was found and done in an hour, in images: with an outcome, with a row, without one, and brought back.

    One that nobody can read, or that was erased or purged meanwhile, is missing and not restored.
    """

    hour: str
    state: State
    items: int = 0
    rows: int = 0
    missing: int = 0
    restored: int = 0
    finished: bool = True


@dataclass(frozen=True)
class Rebuilder:
    """Rebuilding of a stack's catalog, as its template describes it."""

    catalog: CatalogTable
    images_table: ImagesTable
    retention_days: int

    def run(self, hour: ArrivalHour, now: datetime, seconds: float, *, dry_run: bool = False) -> Rebuilt:
        """Bring back the rows that an hour lacks, as far as `seconds` allow; does nothing where none is missing.

        Args:
            hour: which.
            now: the time.
            seconds: until no other slice is begun.
            dry_run: whether to say only what is missing.

        Raises:
            Fault: a service did not answer, or denied access, or others kept changing the files; ask again.
        """
        if now < hour.closed_at:
            return Rebuilt(hour.path, "open")
        if now >= hour.start + timedelta(days=self.retention_days) - compaction.DUE_MARGIN:
            return Rebuilt(hour.path, "due")
        deadline = time.monotonic() + seconds
        registered = self.catalog.find(hour)
        with tempfile.TemporaryDirectory() as folder, _database(Path(folder)) as database:
            items = self._load_items(hour, database, Path(folder))
            if not self._load_rows(hour, registered, database, Path(folder)):
                return Rebuilt(hour.path, "incomplete", finished=False)  # files changed meanwhile: ask again
            rows, missing = _count(database, "SELECT DISTINCT image_id FROM present"), _count(database, _MISSING)
            if not missing and (registered or not rows):
                return Rebuilt(hour.path, "complete", items, rows)
            if dry_run:
                return Rebuilt(hour.path, "incomplete", items, rows, missing)
            finished, restored = self._store_slices(hour, database, now, deadline)
        if not finished:
            return Rebuilt(hour.path, "incomplete", items, rows, missing, restored, finished=False)
        if (registered or not rows) and not self._slices(hour):  # what is missing cannot be brought back
            return Rebuilt(hour.path, "incomplete", items, rows, missing)
        self._publish(hour, registered, now)
        return Rebuilt(hour.path, "rebuilt", items, rows, missing, restored)

    def _load_items(self, hour: ArrivalHour, database: "DuckDBPyConnection", folder: Path) -> int:
        """The images that should have a row, as the table `known`."""
        file = folder / "known.csv"
        with file.open("w", encoding="ascii") as lines:
            for image_id, status in self.images_table.outcomes(hour, self.retention_days):
                lines.write(f"{image_id},{status}\n")
        database.execute("CREATE TABLE known (image_id VARCHAR, status VARCHAR)")
        database.execute(
            "INSERT INTO known SELECT DISTINCT * FROM read_csv($file, header = false, delim = ',', auto_detect = false,"
            " columns = {'image_id': 'VARCHAR', 'status': 'VARCHAR'})",
            {"file": str(file)},
        )
        return _count(database, "FROM known")

    def _load_rows(
        self, hour: ArrivalHour, registered: Registered | None, database: "DuckDBPyConnection", folder: Path
    ) -> bool:
        """What queries find, now or after the next step of compaction, as the table `present`, and slices as `stored`.

        Returns:
            False when a file went while it was read.
        """
        database.execute("CREATE TABLE present (image_id VARCHAR, status VARCHAR)")
        database.execute("CREATE TABLE stored (image_id VARCHAR, status VARCHAR)")
        for table, files in (("present", self._found_by_queries(hour, registered)), ("stored", self._slices(hour))):
            for some in batched(files, 100, strict=False):
                with tempfile.TemporaryDirectory(dir=folder) as part:
                    paths = compaction.download(self.catalog.lake_bucket, some, Path(part))
                    if paths is None:
                        return False
                    database.execute(
                        f"INSERT INTO {table} SELECT image_id, status"  # noqa: S608  # one of two words
                        " FROM read_parquet($files, hive_partitioning = false)",
                        {"files": [str(path) for path in paths]},
                    )
        return True

    def _found_by_queries(self, hour: ArrivalHour, registered: Registered | None) -> list[StoredObject]:
        bucket, home = self.catalog.lake_bucket, catalog_prefix(hour)
        at_home = list(bucket.objects(home))
        if registered is None or registered.prefix == home:
            return at_home
        copy = [file for file in bucket.objects(registered.prefix) if file.key.endswith(".parquet")]
        merged = set(compaction.sources_of(bucket, registered.prefix) or ())
        return copy + [file for file in at_home if copy and file.key not in merged]

    def _slices(self, hour: ArrivalHour) -> list[StoredObject]:
        return list(self.catalog.lake_bucket.objects(f"{compaction_prefix(hour)}{_SLICES}"))

    def _store_slices(
        self, hour: ArrivalHour, database: "DuckDBPyConnection", now: datetime, deadline: float
    ) -> tuple[bool, int]:
        """Store the rows that are missing; whether that was all, and how many they are."""
        restored = 0
        wanted = database.execute(
            f"SELECT image_id FROM ({_MISSING} EXCEPT SELECT image_id, status FROM stored) ORDER BY image_id"  # noqa: S608  # of this module
        )
        with ThreadPoolExecutor(READERS) as pool:
            while found := [image_id for (image_id,) in wanted.fetchmany(SLICE_ROWS)]:
                items = pool.map(self.images_table.read, batched(found, BATCH_ITEMS, strict=False))
                records = [record for some in items for item in some if (record := _record(item, hour, now))]
                if records:
                    key = f"{compaction_prefix(hour)}{_SLICES}{parquet.batch_name(found)}.parquet"
                    self.catalog.lake_bucket.overwrite(key, parquet.to_parquet(records), parquet.PARQUET)
                    restored += len(records)
                if time.monotonic() > deadline:
                    return False, restored
        return True, restored

    def _publish(self, hour: ArrivalHour, registered: Registered | None, now: datetime) -> None:
        """Have queries find the hour whole."""
        slices = f"{compaction_prefix(hour)}{_SLICES}"
        moved = registered is not None and registered.prefix != catalog_prefix(hour)
        beside = [slices, *([registered.prefix] if registered and moved else [])]
        compaction.merge(
            hour,
            self.catalog,
            lambda copy: self.catalog.place(hour, copy, now),
            beside,
            lambda: self._erase_again(hour),
        )
        self.catalog.lake_bucket.delete([file.key for file in self._slices(hour)])

    def _erase_again(self, hour: ArrivalHour) -> None:
        """Take out of the copy what has no outcome any more: it was erased while its row was in no file."""
        with tempfile.TemporaryDirectory() as folder, _database(Path(folder)) as database:
            paths = compaction.download(self.catalog.lake_bucket, self._slices(hour), Path(folder))
            if paths is None:
                raise Fault("NoSuchKey on GetObject")
            if not paths:
                return
            restored = database.execute(
                "SELECT image_id FROM read_parquet($files, hive_partitioning = false)",
                {"files": [str(path) for path in paths]},
            )
            while found := [image_id for (image_id,) in restored.fetchmany(SLICE_ROWS)]:
                statuses = self.images_table.statuses(sorted({*found}))
                if gone := {one for one in found if statuses.get(one) not in OUTCOMES}:
                    parquet.erase(self.catalog.lake_bucket, hour, gone)


_MISSING: Final = "SELECT image_id, status FROM known EXCEPT SELECT image_id, status FROM present"


@contextmanager
def _database(folder: Path) -> Iterator["DuckDBPyConnection"]:
    """A database that may use `folder`."""
    import duckdb  # as in parquet

    options: dict[str, Any] = {"memory_limit": "1GB", "temp_directory": str(folder / "spilled")}
    with duckdb.connect(str(folder / "rows.duckdb"), config=options) as database:
        yield database


def _count(database: "DuckDBPyConnection", query: str) -> int:
    return int(database.sql(f"SELECT count(*) FROM ({query})").fetchall()[0][0])  # noqa: S608  # of this module


def _record(item: dict[str, Any], hour: ArrivalHour, now: datetime) -> ImageRecord | None:
    """The row of an item; None when it has none by now, or nobody can read it: `write_catalog` has reported that."""
    try:
        record = ImageRecord.model_validate(item)
    except ValidationError:
        return None
    is_of_hour = ArrivalHour(record.ingest_date, record.hour) == hour
    return record if is_of_hour and record.expires_at > now else None
