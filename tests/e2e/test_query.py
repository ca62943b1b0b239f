"""`imagelake query`, as it is installed, asks the lake that runs here and what is deployed under a name."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from local.emulator import ROOT
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually

type Query = Callable[..., subprocess.CompletedProcess[str]]

ANALYSTS = (ROOT / "docs/analysts.md").read_text(encoding="utf-8")
PROGRAM = Path(sys.executable).with_name("imagelake")
COLUMNS = ["image_id", "received_at", "bytes", "gps_lat", "reason"]


@pytest.fixture(scope="module")
def image(lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await) -> str:
    """One picture in the catalog; its image_id."""
    image_id = upload(samples["hills.jpg"])
    await_end(image_id)
    counted = f"SELECT count(*) FROM images WHERE image_id = '{image_id}'"  # noqa: S608  # a UUID of ours
    eventually(lambda: lake.analysts.ask(counted).rows, lambda rows: rows == [[1]])
    return image_id


@pytest.fixture
def sql(image: str) -> str:
    return f"SELECT {', '.join(COLUMNS)} FROM current_images_personal WHERE image_id = '{image}'"  # noqa: S608  # a UUID of ours


@pytest.fixture
def query(lake: Lake, tmp_path: Path) -> Query:
    """Run the command in a folder in which this lake describes itself."""
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "lake.json").write_text(json.dumps(lake.describe()), encoding="utf-8")
    (tmp_path / "below").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "query", *arguments], cwd=tmp_path / "below", capture_output=True, text=True, check=False
        )

    return run


def test_an_answer_is_the_same_in_every_format(
    query: Query, sql: str, image: str, samples: dict[str, Sample], tmp_path: Path
) -> None:
    written = tmp_path / "answer.parquet"
    runs = [query(sql), query(sql, "--format", "json"), query(sql, "--format", "table"), query(sql, "-o", str(written))]
    as_csv, as_json, as_table, as_parquet = runs

    assert [run.returncode for run in runs] == [0] * 4, runs
    [row] = csv.DictReader(as_csv.stdout.splitlines())
    [document] = map(json.loads, as_json.stdout.splitlines())
    assert document["bytes"] == len(samples["hills.jpg"].content)
    assert document["gps_lat"] == pytest.approx(52.5163)
    assert document["reason"] is None
    assert row == {name: "" if value is None else str(value).replace("T", " ") for name, value in document.items()}
    assert as_table.stdout.splitlines()[0].split() == COLUMNS
    assert image in as_table.stdout
    assert as_parquet.stdout == ""
    with duckdb.connect() as database:
        [read] = database.read_parquet(str(written)).fetchall()
    assert [*read[:1], read[1].isoformat(), *read[2:]] == list(document.values())
    assert all(run.stderr.startswith("1 row; ") for run in runs)


@pytest.mark.usefixtures("image")
def test_a_named_query_is_listed_and_answers(query: Query) -> None:
    listed = query("--list")
    named = query("--named", "arrivals", "--format", "json")

    assert "arrivals" in [row["name"] for row in csv.DictReader(listed.stdout.splitlines())]
    assert "api" in [json.loads(line)["source"] for line in named.stdout.splitlines()]


@pytest.mark.usefixtures("image")
def test_what_there_is_to_ask_is_said(query: Query) -> None:
    tables, described, partitions = query("SHOW TABLES"), query("DESCRIBE images"), query("SHOW PARTITIONS images")

    assert tables.stdout.splitlines() == ["tab_name", "current_images", "current_images_personal", "images"]
    assert "image_id,string,UUID" in described.stdout.splitlines()
    assert re.search(r"^ingest_date=\d{4}-\d\d-\d\d/hour=\d\d$", partitions.stdout, re.MULTILINE)


@pytest.mark.usefixtures("image")
def test_arrivals_are_plotted_here_and_into_a_picture(query: Query, tmp_path: Path) -> None:
    here, kept = query("-n", "arrivals", "--plot"), query("-n", "arrivals", "--plot", "-o", str(tmp_path / "a.png"))

    assert (here.returncode, kept.returncode) == (0, 0), here.stderr + kept.stderr
    assert "images over arrived_hour" in here.stdout
    assert "api" in here.stdout
    png = (tmp_path / "a.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", png[16:24])) > 800


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-n", "arival"], "There is no named query arival. Near to it: arrivals."),
        (["SELEC image_id FROM images"], "SYNTAX_ERROR"),
        (["SELECT colour FROM images"], "colour"),
        (["SELECT image_id FROM pictures"], "TABLE_NOT_FOUND"),
        (["SELECT 1; SELECT 2"], "Only one sql statement is allowed"),
        (["DROP TABLE images"], "NOT_SUPPORTED: the local Athena answers SELECT"),
        (["SELECT * FROM read_text('/etc/hostname')"], "Permission Error: Cannot access file"),
    ],
)
def test_a_mistake_is_explained(query: Query, arguments: list[str], error: str) -> None:
    run = query(*arguments)

    assert (run.returncode, run.stdout) == (1, "")
    assert error in run.stderr
    assert "Traceback" not in run.stderr


def test_a_stack_is_found_by_its_name(lake: Lake, sql: str, image: str, tmp_path: Path) -> None:
    def ask(stack: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "query", "--stack", stack, sql],
            cwd=tmp_path, env=lake.emulator.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert image in ask(lake.stack.name).stdout
    assert "no-such-lake does not exist" in ask("no-such-lake").stderr


def test_a_lake_that_has_gone_is_an_error(lake: Lake, query: Query, tmp_path: Path) -> None:
    gone = lake.describe() | {"endpoint_url": "http://127.0.0.1:9"}
    (tmp_path / ".local" / "lake.json").write_text(json.dumps(gone), encoding="utf-8")

    run = query("SELECT 1")

    assert run.returncode == 1
    assert "does not answer: it was killed. Start another with make run" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.usefixtures("image", "query")
def test_every_command_in_the_documentation_runs(tmp_path: Path) -> None:
    shell = "".join(re.findall(r"```sh\n(.*?)```", ANALYSTS, re.DOTALL))
    commands = [line for line in shell.splitlines() if "imagelake query" in line]
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"

    assert len(commands) > 8
    for command in commands:
        run = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, f"{command}: {run.stderr}"


@pytest.mark.usefixtures("image")
def test_the_python_in_the_documentation_runs(lake: Lake) -> None:
    [snippet] = [code for code in re.findall(r"```python\n(.*?)```", ANALYSTS, re.DOTALL) if "import boto3" in code]

    run = subprocess.run(
        [sys.executable, "-c", snippet], env=lake.emulator.environment, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert "['status', 'images']" in run.stdout
    assert "processed" in run.stdout
