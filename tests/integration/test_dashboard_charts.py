"""What is drawn: the same SQL, of rows that are known."""

import html
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
import vl_convert
from PIL import Image

from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord
from imagelake_cli.athena import QueryError
from local import lake
from local.emulator import ROOT
from tools import sql
from tools.dashboard import __main__ as command
from tools.dashboard import answers, charts, definition, sample_week
from tools.dashboard.answers import Rows

QUERIES = answers.queries()
DASHBOARD = definition.read(QUERIES)
CHARTS = {chart.id: chart for chart in DASHBOARD.charts}
RECEIVED = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def record(number: int, **changes: Any) -> ImageRecord:
    partition = ArrivalHour.of(RECEIVED)
    fields = {
        "image_id": str(UUID(int=number)), "status": "processed", "source": "api", "received_at": RECEIVED,
        "processed_at": RECEIVED + timedelta(seconds=2), "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
        "bytes": 2_000_000, "format": "JPEG", "width": 2000, "height": 1000, "camera_make": "Axis",
        "camera_model": "Q1656", "script": "describe", "script_version": "9c1f0a77",
        "ingest_date": partition.ingest_date, "hour": partition.hour,
    }  # fmt: skip
    return ImageRecord.model_validate(fields | changes)


REJECTED = {"status": "rejected", "reason": "truncated: the file ends too early", "format": None, "camera_make": None}
ROWS = [
    record(1, phash="a" * 16, sha256="1" * 64),
    record(2, phash="a" * 16, sha256="2" * 64, source="drones", processed_at=RECEIVED + timedelta(seconds=8)),
    record(3, source="drones", format="TIFF", bytes=4_000_000, camera_model=None, camera_make="DJI"),
    record(4, **REJECTED),
    record(5, **REJECTED, source="drones"),
    record(6, **REJECTED, expires_at=datetime(2000, 1, 1, tzinfo=UTC)),
]


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """The charts as SVG, by their id; what a mark stands for is its label."""
    with answers.catalog_of(ROWS) as catalog:
        answered = {query: catalog.ask(sql.named(query)[1]) for query in QUERIES}
    return {
        name: html.unescape(
            vl_convert.vegalite_to_svg(charts.draw_chart(chart, QUERIES[chart.query], answered[chart.query]).to_dict())
        )
        for name, chart in CHARTS.items()
    }


def marks(svg: str) -> set[str]:
    """What the marks of a chart stand for."""
    return set(
        re.findall(r'aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="(?!axis|legend|title)', svg)
    )


def table(svg: str) -> list[dict[str, str]]:
    """The rows of a table."""
    rows: dict[int, dict[str, str]] = defaultdict(dict)
    for column, row, text in re.findall(r'aria-label="column: ([^;]*); row: (\d+); text: ([^"]*)"', svg):
        rows[int(row)][column] = text
    return [rows[row] for row in sorted(rows)]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_has_its_title(name: str, drawn: dict[str, str]) -> None:
    assert f"Title text '{CHARTS[name].title}'" in drawn[name]


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("images_kept", "Sum of images: 6"),
        ("megabytes_kept", "Sum of mb: 14"),
        ("images_refused", "Sum of images: 3"),
        ("images_expiring", "Sum of images: 1"),
    ],
)
def test_a_number_is_the_sum_of_the_answer(name: str, mark: str, drawn: dict[str, str]) -> None:
    assert marks(drawn[name]) == {mark}


def test_the_sum_of_an_empty_answer_is_zero() -> None:
    chart = CHARTS["images_expiring"]
    svg = vl_convert.vegalite_to_svg(charts.draw_chart(chart, QUERIES[chart.query], []).to_dict())

    assert marks(svg) == {"Sum of images: 0"}


def test_bars_are_as_long_as_the_answer_says(drawn: dict[str, str]) -> None:
    assert marks(drawn["rejections"]) == {
        "Images: 2; Reason: truncated; Source: api",
        "Images: 1; Reason: truncated; Source: drones",
    }


def test_hours_are_utc_and_stack_by_source(drawn: dict[str, str]) -> None:
    hour = "Hour of arrival (UTC): Sun 22 Nov 09:00"

    assert marks(drawn["arrivals"]) == {
        f"{hour}; Images an hour: 3; Source: api",
        f"{hour}; Images an hour: 3; Source: drones",
    }
    assert marks(drawn["expiring"]) == {"Hour of expiry (UTC): Sat 01 Jan 00:00; Images an hour: 1; Source: api"}


def test_percentiles_are_lines_of_their_own_on_a_logarithmic_scale(drawn: dict[str, str]) -> None:
    values = {mark.split("; ", 1)[1] for mark in marks(drawn["latency"])}

    assert values == {
        "Seconds: 2; measure: Median",
        "Seconds: 8; measure: 95th percentile",
        "Seconds: 8; measure: 99th percentile",
    }
    assert "titled 'Seconds' for a log scale" in drawn["latency"]


def test_cells_say_their_share(drawn: dict[str, str]) -> None:
    assert marks(drawn["cost_drivers"]) == {
        "Format: JPEG; Source: api; Sum of percent_of_bytes: 14.3",
        "Format: JPEG; Source: drones; Sum of percent_of_bytes: 14.3",
        "Format: TIFF; Source: drones; Sum of percent_of_bytes: 28.6",
        "Format: unknown; Source: api; Sum of percent_of_bytes: 28.6",
        "Format: unknown; Source: drones; Sum of percent_of_bytes: 14.3",
    }


def test_tables_write_numbers_with_their_decimals_and_what_is_missing_as_a_dash(drawn: dict[str, str]) -> None:
    assert table(drawn["outcomes"]) == [
        {"Status": "processed", "Reason": "-", "Images": "3"},
        {"Status": "rejected", "Reason": "truncated", "Images": "3"},
    ]
    assert table(drawn["duplicates"]) == [{"Times": "2", "Different files": "2", "Sources": "2", "MB": "4.0"}]
    assert [row["Mean kB"] for row in table(drawn["formats"])] == ["2,000.0", "4,000.0"]
    assert table(drawn["script_versions"])[0]["First (UTC)"] == "2026-11-22 09:30"


def test_only_the_largest_are_drawn() -> None:
    cameras, duplicates = CHARTS["cameras"], CHARTS["duplicates"]
    rows: Rows = [{"camera_model": f"M{number}", "camera_make": "Axis", "images": number} for number in range(1, 30)]
    svg = vl_convert.vegalite_to_svg(charts.draw_chart(cameras, QUERIES["cameras"], rows).to_dict())
    assert {mark.split("; ")[0] for mark in marks(svg)} == {f"Images: {number}" for number in range(18, 30)}

    rows = [{"images": number, "files": 1, "sources": 1, "mb": None} for number in range(1, 30)]
    svg = vl_convert.vegalite_to_svg(charts.draw_chart(duplicates, QUERIES["duplicates"], rows).to_dict())
    assert [row["Times"] for row in table(svg)] == [str(number) for number in range(29, 19, -1)]


# The command


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_week, "records", lambda _now: ROWS)

    command.main(tmp_path)

    page = (tmp_path / "dashboard.html").read_text(encoding="utf-8")
    assert "What arrives, by source" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    for name in ["dashboard", *CHARTS]:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 2, name


def test_a_lake_that_is_not_running_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "DESCRIPTION", tmp_path / "lake.json")

    with pytest.raises(typer.BadParameter, match="make run"):
        command.main(tmp_path, of_lake=True)


# The week


def test_a_lake_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_lake: object, _query: str) -> Rows:
        raise QueryError("TABLE_NOT_FOUND: there is none")

    monkeypatch.setattr(lake, "running_elsewhere", lambda: None)
    monkeypatch.setattr(answers, "ask_lake", refuse)

    with pytest.raises(typer.Exit) as ended:
        command.main(tmp_path, of_lake=True)

    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "The lake did not answer: TABLE_NOT_FOUND: there is none\n"


def test_the_week_has_everything_that_the_charts_show() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    rows = sample_week.records(now, 2000)
    slow = [one for one in rows if one.processed_at and one.processed_at - one.received_at > timedelta(seconds=15)]
    incident = [(one.received_at - now + timedelta(days=7)) // timedelta(hours=1) for one in slow]

    assert rows == sample_week.records(now, 2000)
    assert len(rows) == pytest.approx(2000, rel=0.05)
    assert {one.status for one in rows} == {"processed", "rejected", "failed"}
    assert {len(set(values)) for values in zip(*((one.source, one.script_version) for one in rows), strict=True)} == {
        4,
        2,
    }
    assert set(incident) == set(sample_week.INCIDENT)
    assert len({one.phash for one in rows}) < sum(one.phash is not None for one in rows)


@pytest.mark.parametrize("file", ["Makefile", "docs/dashboard.md"])
def test_the_folder_that_is_documented_is_the_one_that_is_written(file: str) -> None:
    named = re.findall(r"(\.\w+/dashboard)/", (ROOT / file).read_text(encoding="utf-8"))

    assert named == [str(command.FOLDER.relative_to(ROOT))]
