"""Athena as AWS has it: takes Trino's SQL, reads what Glue has registered, and knows views.

ministack's own takes DuckDB's SQL and reads whatever lies under the location of a table.
"""

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlglot
from ministack.services import athena, glue, s3
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

_VIEW: Final = "/* Presto View: "
"""What comes before a view's definition, base64; https://docs.aws.amazon.com/athena/latest/ug/views.html"""


class SyntaxInvalidError(Exception):
    """Athena cannot read the SQL; the message says why."""


async def rewrite(query: str, database: str, _catalog: str | None = None) -> tuple[str, dict[str, str], list[str]]:
    """A query of Athena's as DuckDB takes it: views spelled out, tables as the files they have at this moment.

    Returns:
        The query, nothing, and the folders that the files have been copied to.

    Raises:
        SyntaxInvalidError: Athena could not read it either.
    """
    folders: list[str] = []
    return _bound(_parse(query), database, folders).sql(dialect="duckdb"), {}, folders


def _parse(query: str) -> exp.Expr:
    try:
        return sqlglot.parse_one(query, read="athena")
    except sqlglot.ParseError as error:
        reason, _, _excerpt = str(error).partition("\n")
        raise SyntaxInvalidError(f"SYNTAX_ERROR: {reason}") from error


def _bound(query: exp.Expr, database: str, folders: list[str]) -> exp.Expr:
    for table in list(_tables(query)):
        description = glue._tables.get(f"{table.db or database}/{table.name}")
        if description is None:
            raise SyntaxInvalidError(f"TABLE_NOT_FOUND: Table '{table.db or database}.{table.name}' does not exist")
        table.replace(exp.Subquery(this=_relation(description, folders), alias=exp.to_identifier(table.alias_or_name)))
    return query


def _tables(query: exp.Expr) -> Iterator[exp.Table]:
    for scope in traverse_scope(query):
        yield from (source for source in scope.sources.values() if isinstance(source, exp.Table) and source.name)


def _relation(table: dict[str, Any], folders: list[str]) -> exp.Expr:
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
    return exp.select("*").from_(relation, dialect="duckdb")


def _copy_partitions(table: dict[str, Any], folders: list[str]) -> list[str]:
    """The objects of all registered partitions, in folders that say the partition's values, wherever they came from."""
    root = Path(tempfile.mkdtemp(prefix="athena-"))
    folders.append(str(root))
    names = [key["Name"] for key in table["PartitionKeys"]]
    files = []
    for partition in glue._partitions.get(f"{table['DatabaseName']}/{table['Name']}", []):
        values = [f"{name}={value}" for name, value in zip(names, partition["Values"], strict=True)]
        folder = root.joinpath(*values)
        folder.mkdir(parents=True)
        for number, content in enumerate(_objects(partition["StorageDescriptor"]["Location"])):
            file = folder / str(number)
            file.write_bytes(content)
            files.append(str(file))
    return files


def _objects(location: str) -> list[bytes]:
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    stored = s3._buckets[bucket]["objects"] if bucket in s3._buckets else ()
    keys = sorted(key for key in stored if key.startswith(prefix) and not athena._hidden(key[len(prefix) :]))
    return [content for key in keys if (content := s3._get_object_data(bucket, key)) is not None]
