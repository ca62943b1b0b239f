"""Questions to the lake in SQL, through Athena."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.emulator import ROOT
from local.lake import Lake

QUERIES: Final = ROOT / "analytics" / "queries"
VIEWS: Final = ROOT / "analytics" / "views"
_RESULTS_BUCKET: Final = "image-lake-query-results"


class QueryError(Exception):
    """Athena could not answer; the message is its reason."""


@dataclass(frozen=True)
class Answer:
    """Rows of text, as Athena gives them."""

    columns: list[str]
    rows: list[list[str | None]]


def ask(lake: Lake, sql: str) -> Answer:
    """Run one query in the work group of the analysts.

    Raises:
        QueryError: Athena could not answer.
    """
    athena = lake.client("athena")
    started = athena.start_query_execution(
        QueryString=sql,
        WorkGroup=lake.stack.outputs["AthenaWorkGroup"],
        QueryExecutionContext={"Database": lake.stack.outputs["CatalogDatabase"]},
        # On AWS the work group keeps its own results; the emulator wants to be told where.
        ResultConfiguration={"OutputLocation": f"s3://{_results_bucket(lake)}/"},
    )["QueryExecutionId"]
    while (status := athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"])["State"] in (
        "QUEUED",
        "RUNNING",
    ):
        time.sleep(0.1)
    if status["State"] != "SUCCEEDED":
        raise QueryError(status.get("StateChangeReason", status["State"]))
    header, *rows = athena.get_query_results(QueryExecutionId=started)["ResultSet"]["Rows"]
    return Answer(
        [cell.get("VarCharValue", "") for cell in header["Data"]],
        [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows],
    )


def named(name: str, folder: Path = QUERIES) -> tuple[str, str]:
    """A query of `analytics/queries`, or of another folder: what it answers, and its SQL."""
    text = (folder / f"{name}.sql").read_text(encoding="utf-8")
    question, _, sql = text.partition("\n")
    return question.removeprefix("-- "), sql


def query_files() -> list[Path]:
    """The files of all named queries."""
    return sorted(QUERIES.glob("*.sql"))


def _results_bucket(lake: Lake) -> str:
    s3 = lake.client("s3")
    if _RESULTS_BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=_RESULTS_BUCKET)
    return _RESULTS_BUCKET
