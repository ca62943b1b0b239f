"""How answers become plots."""

import struct
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from imagelake_cli import plot
from imagelake_cli.athena import Answer, Column
from imagelake_cli.plot import PlotError

NINE, TEN = (datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in (9, 10))
ARRIVALS = {"arrived_hour": "timestamp", "source": "varchar", "images": "bigint", "mb": "double"}
CAMERAS = {"make": "varchar", "images": "bigint", "model": "varchar", "change": "double"}
PICTURES: list[list[Any]] = [["Pocket", 20, "P 12", -1.5], [None, 5, "AW-1", None]]
ROWS: list[list[Any]] = [
    [TEN.replace(tzinfo=None), "api", 5, 2.5],
    [NINE.replace(tzinfo=None), "api", 3, 1.5],
    [NINE.replace(tzinfo=None), None, 8, None],
]


def answer(columns: dict[str, str], *rows: list[Any]) -> Answer:
    return Answer([Column(name, kind) for name, kind in columns.items()], list(rows))


def test_each_column_of_numbers_is_a_panel_and_each_text_a_series_in_order() -> None:
    made = plot.split(answer(ARRIVALS, *ROWS))

    assert (made.x, made.is_over_time) == ("arrived_hour", True)
    assert {panel.title: panel.series for panel in made.panels} == {
        "images": {"api": [(NINE, 3), (TEN, 5)], "none": [(NINE, 8)]},
        "mb": {"api": [(NINE, 1.5), (TEN, 2.5)], "none": []},
    }


def test_several_texts_are_one_series_and_none_is_one_without_a_name() -> None:
    named = {"n": "integer", "make": "varchar", "model": "varchar", "images": "bigint"}

    assert list(plot.split(answer(named, [1, "A", "B", 2])).panels[0].series) == ["A, B"]
    assert list(plot.split(answer({"n": "integer", "images": "bigint"}, [1, 2])).panels[0].series) == [""]


@pytest.mark.parametrize(
    ("value", "kind", "place"),
    [
        ("2026-10-31", "varchar", datetime(2026, 10, 31, tzinfo=UTC)),
        (datetime(2026, 11, 22).date(), "date", datetime(2026, 11, 22, tzinfo=UTC)),  # noqa: DTZ001  # only its date
        (NINE.astimezone(timezone(timedelta(hours=2))), "timestamp with time zone", NINE),
        (7, "bigint", 7.0),
    ],
)  # fmt: skip
def test_time_is_utc_and_days_as_text_are_time(value: Any, kind: str, place: Any) -> None:
    [panel] = plot.split(answer({"x": kind, "y": "bigint"}, [value, 1])).panels

    assert panel.series == {"": [(place, 1.0)]}


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        (ARRIVALS, [], "the answer has no rows"),
        ({"status": "varchar", "images": "bigint"}, [["a", 3], ["a", 4]], "Cannot plot over status: the first column"),
        ({"tags": "map", "images": "bigint"}, [["{}", 3]], "Cannot plot over tags"),
        ({"id": "varchar", "n": "bigint"}, [[str(n), n] for n in range(41)], "41 bars do not fit"),
        ({"hour": "timestamp", "images": "bigint"}, [[NINE, 3], [None, 4]], "Cannot plot over hour"),
        ({"hour": "timestamp", "status": "varchar"}, [[NINE, "failed"]], "no column after the first has numbers"),
        ({"hour": "timestamp", "id": "varchar", "n": "bigint"}, [[NINE, str(n), n] for n in range(13)], "13 series"),
    ],
)
def test_what_cannot_be_plotted_is_said(columns: dict[str, str], rows: list[list[Any]], reason: str) -> None:
    with pytest.raises(PlotError, match=reason):
        plot.split(answer(columns, *rows))


def test_text_makes_bars_in_the_order_of_the_answer_with_all_its_text() -> None:
    made = plot.split(answer(CAMERAS, *PICTURES))

    assert made.x == "make, model"
    assert [(panel.title, panel.series) for panel in made.panels] == [
        ("images", {"": [("Pocket, P 12", 20.0), ("none, AW-1", 5.0)]}),
        ("change", {"": [("Pocket, P 12", -1.5)]}),
    ]
    for value in ("later", "2026-02-30", True):
        assert plot.split(answer({"x": "varchar", "y": "bigint"}, ["2026-11-22", 1], [value, 1])).has_bars


def test_the_terminal_shows_bars_as_long_as_their_numbers() -> None:
    images, change = plot.in_terminal(plot.split(answer(CAMERAS, *PICTURES)), 50, colored=False)

    assert images.splitlines() == [
        "images over make, model",
        f"Pocket, P 12 {'█' * 34} 20",
        f"none, AW-1   {'█' * 8} 5",
    ]
    assert change.splitlines()[1:] == [f"Pocket, P 12 {'█' * 32} -1.5"]
    [empty, _] = plot.in_terminal(plot.split(answer(CAMERAS, ["A", None, "B", 1])), 50, colored=False)
    assert empty == "images over make, model"


def test_a_picture_has_bars() -> None:
    made = plot.split(answer(CAMERAS, *PICTURES))
    encoding = plot.specification(made)["vconcat"][0]["encoding"]

    assert plot.to_png(made).startswith(b"\x89PNG")
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("images", "make, model")
    assert encoding["y"] | {"type": "nominal", "sort": None} == encoding["y"]


def test_the_terminal_shows_each_panel_and_its_series_and_is_no_wider_than_asked() -> None:
    images, images_series, mb, mb_series = plot.in_terminal(plot.split(answer(ARRIVALS, *ROWS)), 70, colored=False)

    assert "images over arrived_hour" in images
    assert "mb over arrived_hour" in mb
    assert (images_series, mb_series) == ("● api  ▲ none", "● api  ▲ none")
    assert "▲" in images
    assert "▲" not in mb
    for panel in (images, mb):
        assert "11-22 09:00" in panel
        assert "11-22 10:00" in panel
        assert "\x1b" not in panel
        assert max(map(len, panel.splitlines())) <= 70


def test_the_terminal_shows_a_single_point_of_a_series_without_a_name() -> None:
    shown, series = plot.in_terminal(plot.split(answer({"x": "bigint", "y": "bigint"}, [7, 1])), 60, colored=False)

    assert shown.count("●") == 1
    assert series == ""


def test_what_is_no_number_is_no_point() -> None:
    made = plot.split(answer({"x": "bigint", "y": "double"}, [7, float("nan")], [8, None]))
    shown, _ = plot.in_terminal(made, 60, colored=False)

    assert made.panels[0].series == {"": []}
    assert "y over x" in shown
    assert plot.to_png(made).startswith(b"\x89PNG")


def test_the_terminal_measures_from_zero() -> None:
    shown, _ = plot.in_terminal(
        plot.split(answer({"x": "bigint", "y": "bigint"}, [7, 90], [8, 100])), 60, colored=False
    )

    assert "\n  0┤" in shown


def test_a_picture_has_all_panels() -> None:
    made = plot.split(answer(ARRIVALS, *ROWS))

    png = plot.to_png(made)

    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG")
    assert width >= 2 * plot.PANEL_WIDTH
    assert height >= 2 * len(made.panels) * plot.PANEL_HEIGHT


def test_a_picture_says_time_in_utc_and_colours_only_what_differs() -> None:
    panels = plot.specification(plot.split(answer(ARRIVALS, *ROWS)))["vconcat"]
    [single] = plot.specification(plot.split(answer({"x": "bigint", "y": "bigint"}, [7, 1])))["vconcat"]

    assert panels[0]["data"]["values"][0] == {"x": "2026-11-22T09:00:00+00:00", "y": 3.0, "series": "api"}
    assert panels[0]["encoding"]["x"]["scale"] == {"type": "utc"}
    assert "color" in panels[0]["encoding"]
    assert single["encoding"]["x"] == {"field": "x", "title": "x", "type": "quantitative"}
    assert "color" not in single["encoding"]


def test_a_picture_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    with pytest.raises(PlotError, match="with its extra `pictures`"):
        plot.to_png(plot.split(answer(ARRIVALS, *ROWS)))
