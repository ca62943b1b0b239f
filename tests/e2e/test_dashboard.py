"""The dashboard of the lake that runs, as another program sees it."""

import json
from pathlib import Path

import pytest

from local import lake as local_lake
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually
from tools import sql
from tools.dashboard import answers


def test_every_chart_has_its_answer(
    lake: Lake,
    upload: Upload,
    await_end: Await,
    samples: dict[str, Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_lake, "DESCRIPTION", tmp_path / "lake.json")
    (tmp_path / "lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    await_end(upload(samples["hills.jpg"]))

    seen = local_lake.running_elsewhere()
    queries = answers.queries()
    answered = eventually(
        lambda: {name: answers.ask_lake(seen, sql.named(name)[1]) for name in queries},
        lambda rows: any(row["mb"] is not None for row in rows["arrivals"]),
    )

    assert {name: list(rows[0]) for name, rows in answered.items() if rows} == {
        name: list(queries[name]) for name, rows in answered.items() if rows
    }
    assert all(isinstance(row["images"], int) for row in answered["formats"])
    # Of images that failed before they were read, and other tests leave some, nobody knows the bytes.
    assert {type(row["mb"]) for row in answered["arrivals"]} - {type(None)} == {float}
