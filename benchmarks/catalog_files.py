"""Files of the catalog, by images a second: `python -m benchmarks.catalog_files`.

Computes how many files an hour the stream makes, by Lambda's rule: a batch is handed over when it has `BatchSize`
records, when the next would take it over 6 MB, or when its window has passed, for each shard of the stream. Sizes are
those of files that `catalog.parquet` makes of such batches, and of a whole hour as compaction leaves it. Prints a
Markdown table with the price of requests to S3.
"""

import json
from datetime import UTC, datetime
from itertools import batched
from typing import Final

from benchmarks.catalog_rows import records_of
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord
from tests.application import TEMPLATE
from tests.integration.conftest import stream_of

RATES: Final = (1, 10, 100)
SHARDS: Final = (1, 4)
"""A shard takes 1,000 writes a second; a new on-demand table is made for 4,000."""
PAYLOAD_BYTES: Final = 6 * 1024 * 1024
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
SECONDS: Final = 3600
HOURS: Final = 24 * 7
MEASURED_ROWS: Final = 36_000
"""Larger hours are extrapolated from this many."""
PUT_DOLLARS: Final = 0.005 / 1000
GET_DOLLARS: Final = 0.0004 / 1000
"""https://aws.amazon.com/s3/pricing/, us-east-1, standard storage, as of November 2026."""
GETS: Final = 2
"""To read a file: its end, then columns."""
COMPACTION_PUTS: Final = 8
"""Of an hour, when one file comes of it: the copy, what it was made of, the copy in place, and five listings."""


def main() -> None:
    """Print the table."""
    mapping = TEMPLATE["Resources"]["WriteCatalogFunction"]["Properties"]["Events"]["ImageCataloged"]["Properties"]
    window = int(TEMPLATE["Parameters"]["CatalogWindowSeconds"]["Default"])
    records = records_of(ArrivalHour.of(datetime(2026, 11, 20, 9, tzinfo=UTC)), MEASURED_ROWS)
    event = stream_of(*(record.to_item() for record in records[:1000]))
    record_bytes = len(json.dumps(event, separators=(",", ":"))) / len(event["Records"])
    fitting = int(PAYLOAD_BYTES / record_bytes)
    print(f"{record_bytes:,.0f} bytes a record of the stream: {fitting:,} in a batch of 6 MB\n")
    print(
        "| images/s | shards | rows a file | files an hour | KB a file | MB an hour | compacted, MB "
        "| writing, $ a week | compacting, $ a week | a query over a week, $ | compacted, $ |"
    )
    print("|---:" * 11 + "|")
    for rate in RATES:
        rows_an_hour = rate * SECONDS
        part = records[:rows_an_hour]
        compacted = len(parquet.to_parquet(part)) / len(part) * rows_an_hour
        for shards in SHARDS:
            rows = max(1, min(rate * window // shards, mapping["BatchSize"], fitting))
            files = rows_an_hour / rows
            size = _mean_size(records, rows)
            print(
                f"| {rate} | {shards} | {rows:,} | {files:,.0f} | {size / 1e3:.1f} "
                f"| {files * size / 1e6:.2f} | {compacted / 1e6:.2f} "
                f"| {files * HOURS * PUT_DOLLARS:.2f} "
                f"| {HOURS * ((files + 2) * GET_DOLLARS + COMPACTION_PUTS * PUT_DOLLARS):.3f} "
                f"| {files * HOURS * GETS * GET_DOLLARS:.4f} | {HOURS * GETS * GET_DOLLARS:.4f} |"
            )


def _mean_size(records: list[ImageRecord], rows: int) -> float:
    sizes = [len(parquet.to_parquet(batch)) for batch in list(batched(records, rows, strict=False))[:5]]
    return sum(sizes) / len(sizes)


if __name__ == "__main__":
    main()
