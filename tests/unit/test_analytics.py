"""The view and the named queries as text: both engines can read them, and they give away nothing personal."""

from itertools import pairwise
from pathlib import Path

import pytest
import sqlglot
import yaml
from sqlglot import TokenType, exp
from sqlglot.optimizer.qualify import qualify

from imagelake.schema import HIVE_COLUMNS as COLUMNS
from imagelake_cli import grants
from local.emulator import ROOT
from tools import analytics_template, sql

FILES = [*sorted(sql.VIEWS.glob("*.sql")), *sql.query_files()]
COLUMNS_AND_PARTITION = {**COLUMNS, "ingest_date": "string", "hour": "string"}
SCHEMA: dict[str, object] = {
    name: {column: kind.replace("map<string,string>", "string") for column, kind in COLUMNS_AND_PARTITION.items()}
    for name in ("images", "current_images", "current_images_personal")
}

PERSONAL = {*grants.read(ROOT / grants.FILE).columns.personal}

REDSHIFT_FUNCTIONS = {
    *("AVG", "COUNT", "MAX", "MIN", "STDDEV_POP", "SUM"),
    *("CUME_DIST", "ROW_NUMBER"),
    *("COALESCE", "DATEDIFF", "DATE_TRUNC", "GETDATE", "LN", "NULLIF", "ROUND", "SPLIT_PART"),
}
"""Those in use, of https://docs.aws.amazon.com/redshift/latest/dg/c_SQL_functions.html; none is for the leader only."""
KEYWORDS = {"AS", "FROM", "IN", "OVER"}
"""What else comes before a bracket."""


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def query(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text(encoding="utf-8"))


@pytest.fixture
def athena(query: str) -> exp.Select:
    return sqlglot.parse_one(query, read="athena", into=exp.Select)


@pytest.fixture
def redshift(athena: exp.Select) -> exp.Select:
    return sqlglot.parse_one(athena.sql(dialect="redshift"), read="redshift", into=exp.Select)


def test_there_are_two_views_and_eleven_queries() -> None:
    assert len(FILES) == 2 + 11


def test_a_query_begins_with_the_question_it_answers(query: str) -> None:
    question, _, rest = query.partition("\n")

    assert question.startswith("-- ")
    assert question.endswith(".")
    assert len(question) > 20
    assert "--" not in rest


def test_both_dialects_read_a_query_and_know_each_function(athena: exp.Select, redshift: exp.Select) -> None:
    for tree in (athena, redshift):
        assert not list(tree.find_all(exp.Anonymous, exp.Command))


def test_redshift_has_each_function_of_a_query(redshift: exp.Select) -> None:
    tokens = sqlglot.tokenize(redshift.sql(dialect="redshift", comments=False), read="redshift")
    called = {
        word.text.upper()
        for word, following in pairwise(tokens)
        if following.token_type is TokenType.L_PAREN and word.text.isidentifier()
    }

    assert called - KEYWORDS <= REDSHIFT_FUNCTIONS


def test_every_derived_table_has_an_alias(redshift: exp.Select) -> None:
    assert all(derived.alias for derived in redshift.find_all(exp.Subquery))


def test_every_column_exists_in_both_dialects(athena: exp.Select, redshift: exp.Select) -> None:
    for tree, dialect in ((athena, "athena"), (redshift, "redshift")):
        qualify(tree.copy(), schema=SCHEMA, dialect=dialect, validate_qualify_columns=True)


def test_every_result_has_a_name_of_its_own(athena: exp.Select) -> None:
    names = athena.named_selects

    assert all(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "left_out"), [("current_images", PERSONAL), ("current_images_personal", set())])
def test_a_view_reads_and_shows_every_column_and_the_partition_but_no_other(name: str, left_out: set[str]) -> None:
    _, text = sql.named(name, sql.VIEWS)
    expected = [column for column in COLUMNS_AND_PARTITION if column not in left_out]

    view = sqlglot.parse_one(text, read="athena", into=exp.Select)
    assert view.named_selects == expected
    assert not list(view.find_all(exp.Star)), "which would read columns that the caller may not"
    assert {column.name for column in view.find_all(exp.Column)} == {*expected, "recency"}


@pytest.mark.parametrize("view", ["CurrentImagesView", "CurrentImagesPersonalView"])
def test_a_view_says_how_it_is_read_or_athena_would_refuse_it(view: str) -> None:
    # HIVE_METASTORE_ERROR, Table storage descriptor is missing SerDe info: hashicorp/terraform-provider-aws#28517
    stack = yaml.safe_load(analytics_template.template())
    table = stack["Resources"][view]["Properties"]["TableInput"]

    assert table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"]


@pytest.mark.parametrize("file", sql.query_files(), ids=lambda file: file.stem)
def test_a_named_query_is_for_everybody(file: Path) -> None:
    """It reads the view without personal data."""
    tree = sqlglot.parse_one(file.read_text(encoding="utf-8"), read="athena")

    assert {table.name for table in tree.find_all(exp.Table)} == {"current_images"}
    assert not {column.name for column in tree.find_all(exp.Column)} & PERSONAL
