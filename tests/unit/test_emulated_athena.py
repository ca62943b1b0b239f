"""What the Athena of the local lake answers, what it refuses, and that it lets nobody out of the lake."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ministack.services import glue

from local.emulator import emulated_athena
from local.emulator.emulated_athena import NotAnsweredError, SyntaxInvalidError

IMAGES = {
    "Name": "images",
    "DatabaseName": "lake",
    "StorageDescriptor": {
        "Location": "s3://lake/",
        "Columns": [{"Name": "image_id", "Type": "string", "Comment": "UUID"}, {"Name": "bytes", "Type": "bigint"}],
    },
    "PartitionKeys": [{"Name": "ingest_date", "Type": "string"}, {"Name": "hour", "Type": "string"}],
}
PARTITIONS = [
    {"Values": ["2026-11-22", hour], "StorageDescriptor": {"Location": f"s3://lake/{hour}/"}} for hour in ("09", "08")
]


@pytest.fixture(autouse=True)
def _catalog() -> Iterator[None]:
    glue._databases["lake"] = {"Name": "lake"}
    glue._tables["lake/images"] = IMAGES
    glue._partitions["lake/images"] = PARTITIONS
    yield
    for kept in (glue._databases, glue._tables, glue._partitions):
        kept.clear()


def ask(sql: str) -> dict[str, list[Any]]:
    return asyncio.run(emulated_athena.answer(sql, "lake"))


@pytest.mark.parametrize(
    "sql", ["SELECT 1 AS a", "(SELECT 1 AS a);", "WITH b AS (SELECT 1 AS a) SELECT a FROM b; -- b"]
)
def test_a_query_is_answered(sql: str) -> None:
    assert ask(sql) == {"columns": ["a"], "column_types": ["integer"], "rows": [[1]]}


def test_a_table_without_files_has_its_columns() -> None:
    answer = ask("SELECT * FROM images")

    assert (answer["columns"], answer["rows"]) == (["image_id", "bytes", "ingest_date", "hour"], [])


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE images",
        "CREATE TABLE mine AS SELECT 1 AS a",
        "COPY (SELECT 1) TO 'copied.csv'",
        "INSERT INTO images SELECT 'a', 1, '2026-11-22', '08'",
        "SET threads = 1",
        "EXPLAIN SELECT 1",
        "SHOW CREATE TABLE images",
    ],
)
def test_what_is_no_query_is_refused_and_changes_nothing(
    sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotAnsweredError, match="the local Athena answers SELECT, DESCRIBE"):
        ask(sql)

    assert [*glue._tables] == ["lake/images"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE images", "", "-- nothing"])
def test_there_is_one_statement(sql: str) -> None:
    with pytest.raises(SyntaxInvalidError, match="Only one sql statement is allowed"):
        ask(sql)


@pytest.mark.parametrize("call", ["read_text('{}')", "read_csv('{}')", "read_blob('{}')"])
def test_files_of_the_machine_are_out_of_reach(call: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")

    with pytest.raises(duckdb.PermissionException, match="Cannot access file"):
        ask(f"SELECT * FROM {call.format(secret)}")  # noqa: S608  # it is what is tried


def test_only_the_folders_of_a_query_are_read_and_no_statement_opens_others(tmp_path: Path) -> None:
    (tmp_path / "copied").mkdir()
    for name in ("copied/a.csv", "other.csv"):
        (tmp_path / name).write_text("a\n1\n")

    assert emulated_athena._run(f"FROM '{tmp_path}/copied/a.csv'", [f"{tmp_path}/copied"])["rows"] == [[1]]
    with pytest.raises(duckdb.PermissionException):
        emulated_athena._run(f"FROM '{tmp_path}/copied/../other.csv'", [f"{tmp_path}/copied"])
    for setting in ("enable_external_access = true", "lock_configuration = false"):
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            emulated_athena._run(f"SET {setting}", [])


def test_integers_are_divided_as_trino_divides_them() -> None:
    assert ask("SELECT 7 / 2, -7 / 2, 7 / 2e0")["rows"] == [[3, -3, 3.5]]
    with pytest.raises(duckdb.InvalidInputException, match="Division by zero"):
        ask("SELECT 1 / 0")


@pytest.mark.parametrize(
    ("sql", "column", "rows"),
    [
        ("SHOW DATABASES", "database_name", ["lake"]),
        ("show tables;", "tab_name", ["images"]),
        ("SHOW TABLES IN `other`", "tab_name", []),
        ("SHOW COLUMNS IN images", "field", ["image_id", "bytes", "ingest_date", "hour"]),
        (
            "SHOW PARTITIONS lake.images",
            "partition",
            ["ingest_date=2026-11-22/hour=08", "ingest_date=2026-11-22/hour=09"],
        ),
    ],
)
def test_what_there_is_to_query_is_listed(sql: str, column: str, rows: list[str]) -> None:
    assert ask(sql) == {"columns": [column], "column_types": ["string"], "rows": [[row] for row in rows]}


def test_a_table_is_described_in_one_text_a_row() -> None:
    answer = ask("DESCRIBE images")

    assert answer["columns"] == ["col_name", "data_type", "comment"]
    assert [row[0].split() for row in answer["rows"]] == [
        ["image_id", "string", "UUID"], ["bytes", "bigint"], ["ingest_date", "string"], ["hour", "string"],
        [], ["#", "Partition", "Information"], ["#", "col_name", "data_type", "comment"], [],
        ["ingest_date", "string"], ["hour", "string"],
    ]  # fmt: skip
    assert {row[0].count("\t") for row in answer["rows"]} == {2}


@pytest.mark.parametrize("sql", ["SELEC a FROM images", "SELECT 'a"])
def test_what_cannot_be_read_is_a_syntax_error(sql: str) -> None:
    with pytest.raises(SyntaxInvalidError, match="SYNTAX_ERROR"):
        ask(sql)


def test_a_table_that_is_not_there_is_not_found() -> None:
    for sql in ("DESCRIBE pictures", "SHOW PARTITIONS pictures", "SELECT * FROM pictures"):
        with pytest.raises(SyntaxInvalidError, match=r"TABLE_NOT_FOUND: Table 'lake\.pictures' does not exist"):
            ask(sql)


def test_an_error_quotes_no_statement_but_the_one_that_was_asked() -> None:
    with pytest.raises(emulated_athena.SyntaxInvalidError) as refused:
        ask("SELECT nothere FROM images")

    assert "nothere" in str(refused.value)
    assert "LINE" not in str(refused.value)
