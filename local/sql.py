"""The SQL in `analytics/`, by name; `imagelake_cli.athena` asks it."""

from pathlib import Path
from typing import Final

from local.emulator import ROOT

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
