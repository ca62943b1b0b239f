"""Lake Formation as far as CloudFormation deploys it: tags, grants and filters, and what they let a caller read.

ministack has none. Only Athena asks here; what functions of the lake do with Glue is not held against their grants.
The account's root user may read everything, as an administrator who has granted himself what there is.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ministack.core import iam_evaluator
from ministack.services import glue
from ministack.services.cloudformation import provisioners

_RESOURCE: Final = "AWS::LakeFormation::Resource"
_TAG: Final = "AWS::LakeFormation::Tag"
_ASSOCIATION: Final = "AWS::LakeFormation::TagAssociation"
_FILTER: Final = "AWS::LakeFormation::DataCellsFilter"
_GRANT: Final = "AWS::LakeFormation::PrincipalPermissions"

deployed: Final[dict[str, dict[str, dict[str, Any]]]] = {
    kind: {} for kind in (_RESOURCE, _TAG, _ASSOCIATION, _FILTER, _GRANT)
}
"""The properties of resources of stacks, by type and physical id."""


@dataclass(frozen=True)
class Access:
    """What a caller may read of a table or view: these columns, of rows for which the condition in SQL holds."""

    columns: frozenset[str]
    rows: str | None


def stacks_have_lake_formation() -> None:
    """AWS has these types; the emulator refuses a stack with one of them."""

    def keep(kind: str, physical_id: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        _check(kind, properties)
        deployed[kind][physical_id] = properties
        return physical_id, {}

    def create(kind: str, _logical_id: str, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, Any]]:
        return keep(kind, uuid.uuid4().hex, properties)

    def update(kind: str, physical_id: str, _old: Any, properties: dict[str, Any], _stack: str) -> Any:
        return keep(kind, physical_id, properties)

    def delete(kind: str, physical_id: str, _properties: Any) -> None:
        deployed[kind].pop(physical_id, None)

    for kind in deployed:
        handlers: dict[str, Any] = {"create": create, "update": update, "delete": delete}
        provisioners._RESOURCE_HANDLERS[kind] = {name: partial(one, kind) for name, one in handlers.items()}


def access(database: str, table: dict[str, Any]) -> Access | None:
    """What the caller of this request may read of a table.

    Returns:
        None where all of it: no location is registered, or the account's root user asks.

    Raises:
        PermissionError: nothing of it, in Athena's words.
    """
    caller = iam_evaluator.caller_arn()
    if not deployed[_RESOURCE] or caller.endswith(":root"):
        return None
    shown = list(_shown(_role_of(caller), database, table))
    if not shown:
        # https://github.com/apache/superset/issues/15894
        raise PermissionError(
            "Insufficient permissions to execute the query. "
            f"Insufficient Lake Formation permission(s) on {table['Name']}"
        )
    whole = [one for one in shown if one.rows is None]
    rows = None if whole else " OR ".join(f"({one.rows})" for one in shown)  # grants add up
    return Access(frozenset[str]().union(*(one.columns for one in whole or shown)), rows)


def _shown(principal: str, database: str, table: dict[str, Any]) -> Iterator[Access]:
    columns = [one["Name"] for one in (*table["StorageDescriptor"]["Columns"], *(table.get("PartitionKeys") or ()))]
    for grant in deployed[_GRANT].values():
        if grant["Principal"]["DataLakePrincipalIdentifier"] != principal or "SELECT" not in grant["Permissions"]:
            continue
        match grant["Resource"]:
            case {"Table": {"DatabaseName": named, "Name": name}} if (named, name) == (database, table["Name"]):
                yield Access(frozenset(columns), None)
            case {"DataCellsFilter": {"DatabaseName": named, "TableName": table_name, "Name": name}}:
                if (named, table_name) == (database, table["Name"]):
                    cells = next(one for one in deployed[_FILTER].values() if one["Name"] == name)
                    yield Access(frozenset(cells["ColumnNames"]), cells["RowFilter"]["FilterExpression"])
            case {"LFTagPolicy": {"ResourceType": "TABLE", "Expression": expression}}:
                matching = {one for one in columns if _matches(expression, database, table["Name"], one)}
                if matching:
                    yield Access(frozenset(matching), None)


def _matches(expression: list[dict[str, Any]], database: str, table: str, column: str) -> bool:
    """Whether a column has one of the values of each tag; one without its own has that of its table, or database."""
    return all(_value(one["TagKey"], database, table, column) in one["TagValues"] for one in expression)


def _value(key: str, database: str, table: str, column: str) -> str | None:
    values: dict[int, str] = {}
    for association in deployed[_ASSOCIATION].values():
        for tag in association["LFTags"]:
            if tag["TagKey"] != key:
                continue
            match association["Resource"]:
                case {"Database": {"Name": name}} if name == database:
                    values[0] = tag["TagValues"][0]
                case {"Table": {"DatabaseName": named, "Name": name}} if (named, name) == (database, table):
                    values[1] = tag["TagValues"][0]
                case {"TableWithColumns": {"DatabaseName": named, "Name": name, "ColumnNames": columns}}:
                    if (named, name) == (database, table) and column in columns:
                        values[2] = tag["TagValues"][0]
    return values[max(values)] if values else None


def _role_of(caller: str) -> str:
    """Lake Formation grants to a role, and a session of it asks."""
    return re.sub(r"^(arn:aws[a-z-]*):sts::(\d+):assumed-role/([^/]+)/.*$", r"\1:iam::\2:role/\3", caller)


def _check(kind: str, properties: dict[str, Any]) -> None:
    """What AWS refuses of it."""
    if kind == _ASSOCIATION:
        known = {one["TagKey"]: one["TagValues"] for one in deployed[_TAG].values()}
        for tag in properties["LFTags"]:
            if not {*tag["TagValues"]} <= {*known.get(tag["TagKey"], ())}:
                raise ValueError(f"EntityNotFoundException: LF-tag {tag['TagKey']} has no such value")
    if kind == _GRANT and len(properties["Permissions"]) != 1:
        raise ValueError("InternalFailure: one permission a resource, cloudformation-coverage-roadmap#1381")
    for named, columns in _columns_named(kind, properties):
        table = glue._tables.get(named)
        if table is None:
            raise ValueError(f"EntityNotFoundException: Table not found: {named}")
        there = {one["Name"] for one in (*table["StorageDescriptor"]["Columns"], *(table.get("PartitionKeys") or ()))}
        if unknown := {*columns} - there:
            raise ValueError(f"InvalidInputException: Column {', '.join(sorted(unknown))} does not exist")


def _columns_named(kind: str, properties: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    match properties:
        case {"DatabaseName": database, "TableName": table, "ColumnNames": columns} if kind == _FILTER:
            yield f"{database}/{table}", columns
        case {"Resource": {"TableWithColumns": {"DatabaseName": database, "Name": table, "ColumnNames": columns}}}:
            yield f"{database}/{table}", columns
        case {"Resource": {"Table": {"DatabaseName": database, "Name": table}}}:
            yield f"{database}/{table}", []
