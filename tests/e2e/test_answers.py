"""What analysts are told on a catalog whose answers are known: the named queries as deployed, on the emulator's Athena.

The catalog has a database and a bucket of its own, so that no other test changes an answer. Its files are written,
erased and purged by the functions' own code.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord
from imagelake.retention import purge
from imagelake.retention.purge import Purge
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from local.emulator import ROOT
from local.lake import Lake
from tests.e2e.conftest import eventually, in_process
from tools import sql

DATABASE, BUCKET, STACK = "answers", "image-lake-answers", "image-lake-answers"
DAY = "2026-11-20"
NOW = datetime.now(UTC)
FAR_FUTURE = datetime(2100, 1, 1, tzinfo=UTC)

ROWS = """
batch hour image status    source received seconds bytes   format size      camera        placed file phash bright sharp version expires reason
1     08   z     processed api    08:30:00 1       7000000 JPEG   3000x2000 Purged/P_1    yes    f1   p1    0.9    9999  v0      -       -
1     09   a     processed api    09:10:00 2       2000000 JPEG   2000x1000 Pocket/P_12   yes    f1   p1    0.5    100   v1      -       -
1     09   b     processed line-3 09:20:00 4       1000000 JPEG   1000x1000 Pocket/P_12   -      f2   p1    0.3    100   v1      -       -
1     09   c     processed api    09:30:00 6       2000000 JPEG   2000x1000 Pocket/P_12   yes    f1   p1    0.5    100   v1      -       -
1     09   d     failed    api    09:40:00 -       -       -      -         -             -      -    -     -      -     -       -       fault: SlowDown on PutObject
1     09   f     rejected  api    09:50:00 1       300000  -      -         -             -      f4   -     -      -     v1      -       not_an_image: the bytes are not those of an image
2     09   d     processed api    09:40:00 3600    600000  PNG    1000x500  -             -      f3   p2    0.4    50    v2      -       -
2     09   a     processed api    09:10:00 2       2000000 JPEG   2000x1000 Pocket/P_12   yes    f1   p1    0.5    100   v1      -       -
2     09   g     rejected  line-3 09:45:00 1       100000  -      -         -             -      f5   -     -      -     v2      -       not_an_image: the bytes are not those of an image
2     09   h     failed    -      09:55:00 -       -       -      -         -             -      -    -     -      -     -       -       fault: AccessDenied on GetObject
2     09   i     processed line-3 10:05:00 8       1000000 JPEG   1000x1000 Aperture/AW-1 -      f6   p3    0.2    100   v2      -       -
2     10   j     processed lone   10:30:00 1       4000000 WEBP   2000x2000 -             -      f7   p4    0.6    30    v2      -       -
2     10   k     processed line-3 10:31:00 9       9000000 JPEG   3000x3000 Erased/E_1    yes    f1   p1    0.9    9999  v2      -       -
3     10   l     rejected  line-3 10:40:00 2       200000  -      -         -             -      f8   -     -      -     v2      -       truncated: the file ends before the image does
3     10   e     rejected  line-3 10:50:00 2       100000  -      -         -             -      f9   -     -      -     v2      -       truncated: the file ends before the image does
4     13   m     processed belt-1 13:00:00 1       1000000 JPEG   1000x1000 -             -      f10  -     -      -     v3      1       -
4     13   n     processed belt-2 13:01:00 1       1000000 JPEG   1000x1000 -             -      f11  -     -      -     v3      23      -
4     13   o     processed belt-1 13:02:00 1       1000000 JPEG   1000x1000 -             -      f12  -     -      -     v3      25      -
4     13   p     processed belt-1 13:03:00 1       1000000 JPEG   1000x1000 -             -      f13  -     -      -     v3      1       -
"""  # noqa: E501  # a table
"""Redriven: d. In two batches: a. Arrived after the end of its hour: i. Erased: k. In a purged hour: z.

`seconds` it took to process, `expires` in so many hours from now. What the table does not say is null.
"""

SEQUENCE = "3 12 s{n} processed line-3 12:{n:02}:00 {n} 100000 JPEG 1000x1000 - - t{n} q{n} 0.2 {sharp} v2 - -"
"""Twenty more, that took 1 to 20 seconds; the last is not sharp."""

EXPECTED = {
    "arrivals": """
        2026-11-20 09:00:00 | api    | 4  | 4.9
        2026-11-20 09:00:00 | line-3 | 2  | 1.1
        2026-11-20 09:00:00 | -      | 1  | -
        2026-11-20 10:00:00 | line-3 | 3  | 1.3
        2026-11-20 10:00:00 | lone   | 1  | 4.0
        2026-11-20 12:00:00 | line-3 | 20 | 2.0
        2026-11-20 13:00:00 | belt-1 | 3  | 3.0
        2026-11-20 13:00:00 | belt-2 | 1  | 1.0
    """,
    "cameras": """
        Pocket   | P 12 | 3
        Aperture | AW-1 | 1
    """,
    "cost_drivers": """
        api    | JPEG    | 2  | 0.004 | 4.0  | 0 | 23.1
        line-3 | JPEG    | 22 | 0.004 | 22.0 | 0 | 23.1
        lone   | WEBP    | 1  | 0.004 | 4.0  | 0 | 23.1
        belt-1 | JPEG    | 3  | 0.003 | 3.0  | 0 | 17.3
        api    | PNG     | 1  | 0.001 | 0.5  | 0 | 3.5
        belt-2 | JPEG    | 1  | 0.001 | 1.0  | 0 | 5.8
        api    | unknown | 1  | 0.0   | -    | 1 | 1.7
        line-3 | unknown | 3  | 0.0   | -    | 3 | 2.3
        -      | unknown | 1  | -     | -    | 1 | -
    """,
    "duplicates": """
        p1 | 3 | 2 | 2 | 2026-11-20 09:10:00 | 2026-11-20 09:30:00 | 5.0
    """,
    "expiring": f"""
        {NOW + timedelta(hours=1):%Y-%m-%d %H}:00:00  | belt-1 | 2 | 2.0
        {NOW + timedelta(hours=23):%Y-%m-%d %H}:00:00 | belt-2 | 1 | 1.0
    """,
    "formats": """
        JPEG | 28 | 428.6  | 1.1 | 2.0
        PNG  | 1  | 600.0  | 0.5 | 0.5
        WEBP | 1  | 4000.0 | 4.0 | 4.0
    """,
    "latency": """
        2026-11-20 09:00:00 | 6  | 2.0  | 3600.0 | 3600.0 | 3600.0
        2026-11-20 10:00:00 | 4  | 2.0  | 8.0    | 8.0    | 8.0
        2026-11-20 12:00:00 | 20 | 10.0 | 19.0   | 20.0   | 20.0
        2026-11-20 13:00:00 | 4  | 1.0  | 1.0    | 1.0    | 1.0
    """,
    "outcomes": """
        processed | -            | 30
        rejected  | not_an_image | 2
        rejected  | truncated    | 2
        failed    | fault        | 1
    """,
    "rejections": """
        truncated    | line-3 | rejected | 2 | 2026-11-20 10:50:00
        fault        | -      | failed   | 1 | 2026-11-20 09:55:00
        not_an_image | api    | rejected | 1 | 2026-11-20 09:50:00
        not_an_image | line-3 | rejected | 1 | 2026-11-20 09:45:00
    """,
    "script_versions": """
        describe | v1 | 4  | 2026-11-20 09:10:02 | 2026-11-20 09:50:01 | 3.25   | 1 | 0.433 | 100.0
        describe | v2 | 26 | 2026-11-20 09:45:01 | 2026-11-20 12:20:20 | 147.08 | 3 | 0.226 | 90.48
        describe | v3 | 4  | 2026-11-20 13:00:01 | 2026-11-20 13:03:01 | 1.0    | 0 | -     | -
    """,
    "sharpness_outliers": f"""
        {uuid5(NAMESPACE_URL, "s20")} | line-3 | 2026-11-20 12:20:00 | 1.0 | -4.6
    """,
}

type Ask = Callable[[str], list[list[str]]]


def image_id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


NUMBERS = {"bytes": "bytes", "brightness": "bright", "sharpness": "sharp"}
"""Columns that are numbers, and what the table calls them."""


def record(row: dict[str, str]) -> ImageRecord:
    """A row of the table as what the stream says of an image."""
    known = {name: value for name, value in row.items() if value != "-"}
    received_at = datetime.fromisoformat(f"{DAY}T{row['received']}+00:00")
    fields: dict[str, Any] = {
        **{name: known.get(name) for name in ("status", "source", "format", "phash", "hour", "reason")},
        **{name: float(known[short]) if short in known else None for name, short in NUMBERS.items()},
        "image_id": image_id(row["image"]),
        "received_at": received_at,
        "processed_at": received_at + timedelta(seconds=int(known["seconds"])) if "seconds" in known else None,
        "expires_at": NOW + timedelta(hours=int(known["expires"])) if "expires" in known else FAR_FUTURE,
        "sha256": known.get("file"),
        "script": "describe" if "version" in known else None,
        "script_version": known.get("version"),
        "gps_lat": 52.5 if "placed" in known else None,
        "ingest_date": DAY,
    }
    if "size" in known:
        fields["width"], fields["height"] = map(int, known["size"].split("x"))
    if "camera" in known:
        fields["camera_make"], fields["camera_model"] = known["camera"].replace("_", " ").split("/")
    return ImageRecord.model_validate(fields)


def batches() -> dict[str, list[ImageRecord]]:
    header, *lines = ROWS.strip().splitlines()
    lines += [SEQUENCE.format(n=number, sharp=1 if number == 20 else 100) for number in range(1, 21)]
    names = header.split()
    made: dict[str, list[ImageRecord]] = defaultdict(list)
    for line in lines:
        row = dict(zip(names, line.split(maxsplit=len(names) - 1), strict=True))
        made[row["batch"]].append(record(row))
    return made


@pytest.fixture(scope="module")
def catalogued(lake: Lake) -> Iterator[Lake]:
    """The lake as analysts of our own catalog see it."""
    parameters = {"CatalogDatabase": DATABASE, "AthenaWorkGroup": lake.stack.outputs["AthenaWorkGroup"]}
    glue, cloudformation = lake.client("glue"), lake.client("cloudformation")
    lake.client("s3").create_bucket(Bucket=BUCKET)
    glue.create_database(DatabaseInput={"Name": DATABASE})
    deployed = glue.get_table(DatabaseName=lake.stack.outputs["CatalogDatabase"], Name="images")["Table"]
    kept = ("Name", "TableType", "PartitionKeys", "StorageDescriptor", "Parameters")
    glue.create_table(DatabaseName=DATABASE, TableInput={name: deployed[name] for name in kept})
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=(ROOT / "analytics/template.yaml").read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )
    eventually(
        lambda: cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"],
        lambda status: status == "CREATE_COMPLETE",
    )
    with in_process(lake):
        fill()
    yield replace(lake, stack=replace(lake.stack, outputs={**lake.stack.outputs, "CatalogDatabase": DATABASE}))
    cloudformation.delete_stack(StackName=STACK)


def fill() -> None:
    """Write the batches, one of them twice as a retry does; then erase an image and purge an hour."""
    settings = CatalogTable(DATABASE, "images", Bucket(BUCKET))
    written = batches()
    for name in [*written, "1"]:
        parquet.write(written[name], name, settings)
    assert parquet.erase(Bucket(BUCKET), ArrivalHour(DAY, "10"), {image_id("k")}) == 1
    purging = Purge(Bucket(BUCKET), Bucket(BUCKET), ImagesTable("none"), EventBus("default"), settings, 7)
    purged = ArrivalHour(DAY, "08")
    due = purged.closed_at + timedelta(days=7)
    assert purging.run(purge.Work(store="catalog", hour=purged.path), due, 60).deleted == 1


@pytest.fixture
def ask(catalogued: Lake) -> Ask:
    """The rows that answer a query; what is null is `-`."""
    return lambda query: [
        ["-" if cell is None else str(cell) for cell in row] for row in catalogued.analysts.ask(query).rows
    ]


def test_there_is_a_known_answer_to_every_named_query() -> None:
    assert set(EXPECTED) == {file.stem for file in sql.query_files()}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_named_query_gives_the_known_answer(name: str, catalogued: Lake, ask: Ask) -> None:
    expected = [[cell.strip() for cell in line.split("|")] for line in EXPECTED[name].strip().splitlines()]

    assert ask(catalogued.analysts.named_queries()[name].sql) == expected


def test_the_view_has_one_row_an_image_and_the_table_one_an_outcome(ask: Ask) -> None:
    assert ask("SELECT count(*), count(DISTINCT image_id) FROM current_images") == [["35", "35"]]
    assert ask("SELECT count(*), count(DISTINCT image_id) FROM images") == [["37", "35"]]


def test_a_redriven_image_counts_as_what_it_became(ask: Ask) -> None:
    assert ["processed", "600000"] in ask("SELECT status, bytes FROM current_images WHERE hour = '09'")
    assert ask("SELECT count(*) FROM images WHERE reason LIKE 'fault: SlowDown%'") == [["1"]]
    assert ask("SELECT count(*) FROM current_images WHERE reason LIKE 'fault: SlowDown%'") == [["0"]]


def test_a_late_arrival_is_in_the_hour_of_its_key(ask: Ask) -> None:
    query = "SELECT image_id, hour FROM current_images WHERE received_at = timestamp '2026-11-20 10:05:00'"

    assert ask(query) == [[image_id("i"), "09"]]


def test_the_view_answers_for_one_hour(ask: Ask) -> None:
    query = "SELECT count(*) FROM current_images WHERE ingest_date = '2026-11-20' AND hour = '09'"

    assert ask(query) == [["8"]]


def test_what_was_erased_or_purged_is_in_no_row(ask: Ask) -> None:
    ids = {row[0] for row in ask("SELECT image_id FROM images")}

    assert image_id("a") in ids
    assert not ids & {image_id("k"), image_id("z")}
    assert ask("SELECT DISTINCT hour FROM images ORDER BY hour") == [["09"], ["10"], ["12"], ["13"]]
