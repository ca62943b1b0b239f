"""The SQL in `analytics/`, by name, and for DuckDB; `imagelake_cli.athena` asks it."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlglot

from local.emulator import ROOT

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

QUERIES: Final = ROOT / "analytics" / "queries"
VIEWS: Final = ROOT / "analytics" / "views"


def named(name: str, folder: Path = QUERIES) -> tuple[str, str]:
    """A query of `analytics/queries`, or of another folder: what it answers, and its SQL."""
    text = (folder / f"{name}.sql").read_text(encoding="utf-8")
    question, _, sql = text.partition("\n")
    return question.removeprefix("-- "), sql


def query_files() -> list[Path]:
    """The files of all named queries."""
    return sorted(QUERIES.glob("*.sql"))


def to_duckdb(query: str) -> str:
    """A query of Athena's as DuckDB takes it."""
    [translated] = sqlglot.transpile(query, read="athena", write="duckdb")
    return translated


def create_views(database: "DuckDBPyConnection") -> None:
    """Create the views of `analytics/views` over the table `images` of a database."""
    for file in sorted(VIEWS.glob("*.sql")):
        database.execute(f"CREATE VIEW {file.stem} AS {to_duckdb(named(file.stem, VIEWS)[1])}")
