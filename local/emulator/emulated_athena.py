"""Athena as AWS has it: takes Trino's SQL, reads what Glue has registered, and knows views. It changes nothing.

ministack's own takes DuckDB's SQL, all of it, and reads whatever lies under the location of a table.
"""

import asyncio
import base64
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import sqlglot
from ministack.services import athena, glue, s3
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from local.emulator import emulated_lake_formation

_VIEW: Final = "/* Presto View: "
"""What comes before a view's definition, base64; https://docs.aws.amazon.com/athena/latest/ug/views.html"""


_LISTING: Final = re.compile(
    r"\s*(?P<what>SHOW\s+(?:DATABASES|SCHEMAS|TABLES|COLUMNS|PARTITIONS)|DESC|DESCRIBE)(?:\s+(?:IN|FROM))?"
    r"(?:\s+(?:`?(?P<database>\w+)`?\.)?`?(?P<name>\w+)`?)?\s*;?\s*",
    re.IGNORECASE,
)

_NO_COLUMN: Final = re.compile(
    r"""Binder Error: (?:Referenced column|Table "\w+" does not have a column named) "(\w+)\""""
)

type Results = dict[str, list[Any]]
"""What ministack keeps of an answer: `columns`, `column_types` and `rows`."""


class SyntaxInvalidError(Exception):
    """Athena cannot read the SQL; the message says why."""


class NotAnsweredError(Exception):
    """Athena would run the statement, and this one does not."""


async def answer(query: str, database: str, _catalog: str | None = None) -> Results:
    """What Athena says to one statement: to a query, or about what there is to query.

    Raises:
        SyntaxInvalidError: Athena could not read it either.
        NotAnsweredError: it is neither.
        duckdb.Error: the query failed.
    """
    if listing := _LISTING.fullmatch(query):
        return _listed(listing, database)
    folders: list[str] = []
    try:
        sql = _bound(_parse(query), database, folders).sql(dialect="duckdb")
        return await asyncio.to_thread(_run, sql, folders)
    except duckdb.BinderException as error:
        if (told := _without_column(str(error), query)) is None:
            raise
        raise SyntaxInvalidError(told) from None
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _without_column(problem: str, query: str) -> str | None:
    """What Athena says of a column that is not there, or not for the caller: it does not tell which."""
    found = _NO_COLUMN.match(problem)
    if found is None:
        return None
    name = found[1].lower()
    tokens = (one for one in sqlglot.tokenize(query, read="athena") if one.text.lower() == name)
    token = next(tokens, None)
    where = f"line {token.line}:{token.col - len(token.text) + 1}: " if token else ""
    return (
        f"COLUMN_NOT_FOUND: {where}Column '{name}' cannot be resolved or requester is not authorized to access "
        "requested resources"
    )


def _run(sql: str, folders: list[str]) -> Results:
    """Have DuckDB answer, which reads these folders and nothing else, and divides integers as Trino does."""
    with duckdb.connect() as engine:
        engine.execute(f"SET allowed_directories = {athena._sql_list(folders)}")
        engine.execute("SET enable_external_access = false")
        engine.execute("SET integer_division = true")
        engine.execute("SET lock_configuration = true")
        try:
            answered = engine.execute(sql)
        except duckdb.Error as error:  # what follows quotes the statement as DuckDB gets it, which nobody wrote
            raise type(error)(str(error).partition("\n\nLINE ")[0]) from None
        described = answered.description or []
        kinds = [str(kind).upper().split("(")[0] for _, kind, *_ in described]
        return {
            "columns": [name for name, *_ in described],
            "column_types": [athena._DUCKDB_TYPE_MAP.get(kind, "varchar") for kind in kinds],
            "rows": [list(row) for row in answered.fetchall()],
        }


def _listed(listing: re.Match[str], database: str) -> Results:
    """What Glue knows, as Athena writes it: one text a row, however many columns."""
    what, name = listing["what"].upper().split()[-1], listing["name"] or ""
    match what:
        case "DATABASES" | "SCHEMAS":
            return _texts(sorted(glue._databases), "database_name")
        case "TABLES":
            tables = [one["Name"] for one in glue._tables.values() if one["DatabaseName"] == (name or database)]
            return _texts(sorted(tables), "tab_name")
    database = listing["database"] or database
    table = _find(database, name)
    match what:
        case "COLUMNS":
            return _texts([column["Name"] for column in _columns(table)], "field")
        case "PARTITIONS":
            partitions = glue._partitions.get(f"{database}/{name}", [])
            return _texts(sorted(_path(table, one["Values"]) for one in partitions), "partition")
        case _:
            return _texts(_description(table), "col_name", "data_type", "comment")


def _texts(texts: list[str], *columns: str) -> Results:
    return {"columns": [*columns], "column_types": ["string"] * len(columns), "rows": [[text] for text in texts]}


def _columns(table: dict[str, Any]) -> list[dict[str, str]]:
    """Those that the caller may see."""
    columns = [*table["StorageDescriptor"]["Columns"], *(table.get("PartitionKeys") or [])]
    allowed = emulated_lake_formation.access(table["DatabaseName"], table)
    return columns if allowed is None else [one for one in columns if one["Name"] in allowed.columns]


def _description(table: dict[str, Any]) -> list[str]:
    """Three parts a line, and the partition keys again at the end, as Hive describes a table."""

    def line(*parts: str) -> str:
        return "\t".join(f"{part:<20}" for part in (*parts, "", "", "")[:3])

    lines = [line(*(column.get(part, "") for part in ("Name", "Type", "Comment"))) for column in _columns(table)]
    if keys := table.get("PartitionKeys"):
        heading = [line(), line("# Partition Information"), line("# col_name", "data_type", "comment"), line()]
        return [*lines, *heading, *lines[-len(keys) :]]
    return lines


def _parse(query: str) -> exp.Expr:
    try:
        statements = [one for one in sqlglot.parse(query, read="athena") if one and not isinstance(one, exp.Semicolon)]
    except sqlglot.errors.SqlglotError as error:
        reason, _, _excerpt = str(error).partition("\n")
        raise SyntaxInvalidError(f"SYNTAX_ERROR: {reason}") from error
    if len(statements) != 1:
        raise SyntaxInvalidError(f"Only one sql statement is allowed. Got: {query}")
    if not isinstance(statements[0], exp.Query):
        raise NotAnsweredError(
            "NOT_SUPPORTED: the local Athena answers SELECT, DESCRIBE, SHOW DATABASES, SHOW TABLES, SHOW COLUMNS and "
            "SHOW PARTITIONS; all other statements need AWS"
        )
    return statements[0]


def _find(database: str, name: str) -> dict[str, Any]:
    table: dict[str, Any] | None = glue._tables.get(f"{database}/{name}")
    if table is None:
        raise SyntaxInvalidError(f"TABLE_NOT_FOUND: Table '{database}.{name}' does not exist")
    return table


def _bound(query: exp.Expr, database: str, folders: list[str]) -> exp.Expr:
    for table in list(_tables(query)):
        description = _find(table.db or database, table.name)
        table.replace(exp.Subquery(this=_relation(description, folders), alias=exp.to_identifier(table.alias_or_name)))
    return query


def _tables(query: exp.Expr) -> Iterator[exp.Table]:
    for scope in traverse_scope(query):
        yield from (source for source in scope.sources.values() if isinstance(source, exp.Table) and source.name)


def _relation(table: dict[str, Any], folders: list[str]) -> exp.Expr:
    allowed = emulated_lake_formation.access(table["DatabaseName"], table)
    if (table.get("ViewOriginalText") or "").startswith(_VIEW):
        if "SerdeInfo" not in table["StorageDescriptor"]:
            raise SyntaxInvalidError("HIVE_METASTORE_ERROR: Table storage descriptor is missing SerDe info")
        view = json.loads(base64.b64decode(table["ViewOriginalText"].removeprefix(_VIEW).removesuffix(" */")))
        return _bound(_parse(view["originalSql"]), view["schema"], folders)
    if table.get("PartitionKeys"):
        files = _copy_partitions(table, folders)
    else:
        files = athena._materialize_table_files(table["StorageDescriptor"]["Location"], folders)
    relation = athena._table_relation(table, files) if files else athena._empty_relation(table)
    if allowed is None:
        return exp.select("*").from_(relation, dialect="duckdb")
    names = [exp.column(one["Name"], quoted=True) for one in _columns(table)]
    rows = sqlglot.parse_one(allowed.rows, read="athena") if allowed.rows else exp.true()
    return exp.select(*names).from_(relation, dialect="duckdb").where(rows)


def _copy_partitions(table: dict[str, Any], folders: list[str]) -> list[str]:
    """The objects of all registered partitions, in folders that say the partition's values, wherever they came from."""
    root = Path(tempfile.mkdtemp(prefix="athena-"))
    folders.append(str(root))
    files = []
    for partition in glue._partitions.get(f"{table['DatabaseName']}/{table['Name']}", []):
        folder = root / _path(table, partition["Values"])
        folder.mkdir(parents=True)
        for number, content in enumerate(_objects(partition["StorageDescriptor"]["Location"])):
            file = folder / str(number)
            file.write_bytes(content)
            files.append(str(file))
    return files


def _path(table: dict[str, Any], values: list[str]) -> str:
    keys = table["PartitionKeys"]
    return "/".join(f"{key['Name']}={value}" for key, value in zip(keys, values, strict=True))


def _objects(location: str) -> list[bytes]:
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    stored = s3._buckets[bucket]["objects"] if bucket in s3._buckets else ()
    keys = sorted(key for key in stored if key.startswith(prefix) and not athena._hidden(key[len(prefix) :]))
    return [content for key in keys if (content := s3._get_object_data(bucket, key)) is not None]
