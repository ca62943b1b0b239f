"""The page for analysts says what the table, the named queries and the command really are; its SQL is tried."""

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from typer.testing import CliRunner

from imagelake_cli.main import app
from tests.application import ROOT, TEMPLATE
from tools.sql import to_duckdb

TEXT = (ROOT / "docs/analysts.md").read_text(encoding="utf-8")
NAMED = sorted((ROOT / "analytics/queries").glob("*.sql"))
EXAMPLES = dict(re.findall(r"\*\*`(\w+)`\*\*: .*\n\n```text\n(.*)\n", TEXT))
"""The first line of the example answer of each named query."""
OUTPUTS: list[dict[str, Any] | None] = [
    {"quality": {"contrast": 0.4, "problems": ["blank"]}, "near_duplicate": {"dhash": "ff"}},
    {"quality": {"contrast": 0.8}},
    {},
    None,
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def answer(sql: str, folder: Path) -> list[tuple[Any, ...]]:
    """What DuckDB says to a query of Athena's about four images."""
    file = folder / "images.jsonl"
    image = {"source": "api", "ingest_date": "2026-11-22", "hour": "09"}
    rows = [{**image, "script_output": None if output is None else json.dumps(output)} for output in OUTPUTS]
    file.write_text("\n".join(map(json.dumps, rows)))
    columns = dict.fromkeys([*image, "script_output"], "varchar")
    with duckdb.connect() as database:
        database.read_json(str(file), format="newline_delimited", columns=columns).create_view("current_images")
        return database.execute(to_duckdb(sql)).fetchall()


def test_every_column_is_there_as_the_table_has_it() -> None:
    table = TEMPLATE["Resources"]["CatalogTable"]["Properties"]["TableInput"]
    columns = [*table["StorageDescriptor"]["Columns"], *table["PartitionKeys"]]
    documented = re.findall(r"^\| `(\w+)` \| ([\w<>,]+) \| (.+) \|$", TEXT, re.MULTILINE)

    assert documented == [(column["Name"], column["Type"], column["Comment"]) for column in columns]


@pytest.mark.parametrize("file", NAMED, ids=lambda file: file.stem)
def test_every_named_query_has_its_question_and_an_answer_of_its_columns(file: Path) -> None:
    question, _, sql = file.read_text(encoding="utf-8").partition("\n")
    columns = sqlglot.parse_one(sql, read="athena").find(exp.Select).named_selects  # type: ignore[union-attr]  # it is one

    assert f"**`{file.stem}`**: {question[3].lower()}{question[4:]}\n" in TEXT
    assert EXAMPLES[file.stem].split() == columns


def test_no_named_query_is_there_that_does_not_exist() -> None:
    assert sorted(EXAMPLES) == [file.stem for file in NAMED]


@pytest.mark.parametrize("sql", blocks("sql"))
def test_the_sql_runs(sql: str, tmp_path: Path) -> None:
    assert answer(sql, tmp_path)


def test_the_sql_finds_what_scripts_wrote(tmp_path: Path) -> None:
    [fields] = [sql for sql in blocks("sql") if "map_keys" in sql]
    [contrast] = [sql for sql in blocks("sql") if "mean_contrast" in sql]

    assert answer(fields, tmp_path) == [
        ("near_duplicate", "dhash", 1), ("quality", "contrast", 2), ("quality", "problems", 1)
    ]  # fmt: skip
    assert answer(contrast, tmp_path) == [("api", pytest.approx(0.6))]


def test_every_option_that_is_named_exists() -> None:
    options = set(re.findall(r"`(--[\w-]+)", TEXT)) | set(re.findall(r"imagelake query.* (--[\w-]+)", TEXT))

    known = CliRunner().invoke(app, ["query", "--help"], env={"COLUMNS": "200"}).output
    assert options
    assert [option for option in options if option not in known] == []


def test_the_limit_of_a_query_is_that_of_the_work_group() -> None:
    limit = TEMPLATE["Resources"]["AnalystsWorkGroup"]["Properties"]["WorkGroupConfiguration"]

    assert limit["BytesScannedCutoffPerQuery"] == 10 * 2**30
    assert "ends one at 10 GiB" in TEXT
