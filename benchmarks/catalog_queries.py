"""The named queries over a million images: `python -m benchmarks.catalog_queries [--images 1000000] [--folder DIR]`.

A week of images is written through `catalog.parquet` in four layouts: as the stream hands them over (a file a minute
and hour), as an hour a file, and, for the first 20,000, as one Parquet and as one JSON file an image. DuckDB answers
each named query through the view, anew each time: its cache of files is off, but the files are in the page cache.
Bytes are what the process read from files (`rchar`), so Linux only; the two layouts of single files are extrapolated.
Prints Markdown tables. Files in DIR are kept, and found again by the next run.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Final

from benchmarks.catalog_rows import SETTINGS, batches, hours_until, images_by_hour, records_of, written_to
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour
from tests.duckdb_catalog import catalog_over, parquet_under
from tools import sql

IMAGES: Final = 1_000_000
SINGLE: Final = 20_000
"""Images that have a file each; a million of those is a day of work for every query."""
WINDOW_SECONDS: Final = 60
REPEATS: Final = {"hours": 5, "batches": 3, "parquet": 1, "json": 1, "table": 1}
"""By layout; `table` is `hours` again, but asks the table `images` and not the view of it."""


@dataclass(frozen=True)
class Cost:
    """Of one query: seconds of the median run, CPU seconds of the cheapest, and bytes read."""

    seconds: float
    cpu: float
    bytes: int


def main() -> None:
    """Write what is not there yet, measure each layout in a process of its own, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layout", choices=REPEATS, help="measure this one only, as JSON")
    options = parser.parse_args()
    if options.layout:
        print(json.dumps({name: asdict(cost) for name, cost in _measure(options.layout, options.folder).items()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        write(folder, options.images)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        _print_sizes(folder)
        costs = {layout: _measured(layout, folder) for layout in REPEATS}
        _print(costs, options.images / min(SINGLE, options.images))


def write(folder: Path, images: int) -> None:
    """Write the four layouts, unless they are there."""
    if (folder / "written").exists():
        return
    by_hour = images_by_hour(hours_until(datetime.now(UTC)), images)
    before = accumulate(by_hour.values(), initial=0)
    tasks = [
        (folder, hour, count, max(0, SINGLE - done))
        for (hour, count), done in zip(by_hour.items(), before, strict=False)  # `before` has one more
    ]
    with multiprocessing.Pool(2) as pool:
        pool.starmap(_write_hour, tasks, chunksize=1)
    (folder / "written").touch()


def _write_hour(folder: Path, hour: ArrivalHour, images: int, single: int) -> None:
    records = records_of(hour, images)
    with written_to(folder / "hours"):
        parquet.write(records, "hour", SETTINGS)
    with written_to(folder / "batches"):
        for number, batch in enumerate(batches(records, WINDOW_SECONDS)):
            parquet.write(batch, f"{number:032x}", SETTINGS)
    with written_to(folder / "parquet"):
        for number, record in enumerate(records[:single]):
            parquet.write([record], f"{number:032x}", SETTINGS)
    target = folder / "json" / hour.path
    target.mkdir(parents=True)
    for number, record in enumerate(records[:single]):
        (target / f"{number}.json").write_text(json.dumps(record.to_row()), encoding="utf-8")


def _measured(layout: str, folder: Path) -> dict[str, Cost]:
    command = [sys.executable, "-m", "benchmarks.catalog_queries", "--layout", layout, "--folder", str(folder)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: Cost(**cost) for name, cost in json.loads(answer.stdout).items()}


def _measure(layout: str, folder: Path) -> dict[str, Cost]:
    costs = {}
    with catalog_over(_source(layout, folder), enable_external_file_cache=False) as database:
        for file in sql.query_files():
            query = sql.to_duckdb(sql.named(file.stem)[1])
            if layout == "table":
                query = query.replace("FROM current_images", "FROM images")
            seconds, cpu, read = [], [], []
            for _ in range(REPEATS[layout]):
                read_before, cpu_before, began = _bytes_read(), _cpu_seconds(), time.perf_counter()
                database.execute(query).fetchall()
                seconds.append(time.perf_counter() - began)
                cpu.append(_cpu_seconds() - cpu_before)
                read.append(_bytes_read() - read_before)
            costs[file.stem] = Cost(statistics.median(seconds), min(cpu), max(read))
    return costs


def _source(layout: str, folder: Path) -> str:
    if layout != "json":
        return parquet_under(folder / ("hours" if layout == "table" else layout))
    columns = parquet.duckdb_columns()
    options = "format = 'newline_delimited', hive_partitioning = true, hive_types_autocast = false"
    return f"read_json('{folder}/json/**/*.json', columns = {columns}, {options})"


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(fields["rchar"])


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _print_sizes(folder: Path) -> None:
    print("| layout | files | MB | KB a file |\n|---|---:|---:|---:|")
    for layout in ("hours", "batches", "parquet", "json"):
        sizes = [file.stat().st_size for file in (folder / layout).rglob("*.*") if file.is_file()]
        print(f"| {layout} | {len(sizes):,} | {sum(sizes) / 1e6:.1f} | {sum(sizes) / len(sizes) / 1e3:.1f} |")
    print()


def _print(costs: Mapping[str, Mapping[str, Cost]], factor: float) -> None:
    heads = [f"{layout} {unit}" for layout in ("hours", "batches") for unit in ("s", "CPU s", "MB")]
    heads += [f"{layout} {unit}" for layout in ("parquet", "json") for unit in ("s", "MB")]
    print("| query |", " | ".join(heads), "| json / hours, bytes | json / batches | json / table |")
    print("|---|" + "---:|" * (len(heads) + 3))
    for name, hours in costs["hours"].items():
        batch, single, text = (costs[layout][name] for layout in ("batches", "parquet", "json"))
        cells = [f"{one.seconds:.2f} | {one.cpu:.2f} | {one.bytes / 1e6:.1f}" for one in (hours, batch)]
        cells += [f"{one.seconds * factor:.0f} | {one.bytes * factor / 1e6:,.0f}" for one in (single, text)]
        ratios = [f"{text.bytes * factor / one.bytes:.0f}" for one in (hours, batch, costs["table"][name])]
        print(f"| {name} |", " | ".join([*cells, *ratios]), "|")


if __name__ == "__main__":
    main()
