"""Who may read what of the catalog: `governance/grants.yaml`, read and checked."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import sqlglot
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from sqlglot import exp

from imagelake.schema import HIVE_COLUMNS, PARTITION_KEYS

FILE: Final = Path("governance/grants.yaml")
"""In the folder of the repository."""

type Sensitivity = Literal["public", "personal"]
type Permission = Literal["DESCRIBE", "SELECT"]

TABLE_COLUMNS: Final = (*HIVE_COLUMNS, *PARTITION_KEYS)
_GROUPS: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam::\d{12}:role/.+|identitystore:::group/.+|quicksight:[a-z0-9-]*:\d{12}:group/.+)"
)
"""Principals of Lake Formation that stand for several people:
https://docs.aws.amazon.com/lake-formation/latest/dg/lf-permissions-reference.html"""


class GrantsError(Exception):
    """The file is not as it should be; the message says where, and what is wrong."""


class Grant(BaseModel):
    """What one role or group may read: columns by their sensitivity, and all rows or some."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    role: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,39}$")] | None = None
    principal: str | None = None
    sensitivity: Annotated[list[Sensitivity], Field(min_length=1)]
    rows: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    permissions: Annotated[list[Permission], Field(min_length=1)]

    @property
    def name(self) -> str:
        """Of the role, or the ARN of the principal."""
        return str(self.role or self.principal)

    @model_validator(mode="after")
    def _is_to_a_group(self) -> Self:
        if (self.role is None) == (self.principal is None):
            raise ValueError("give one of role and principal")
        if self.principal is not None and not _GROUPS.fullmatch(self.principal):
            raise ValueError("principal must be the ARN of a role or a group; nothing is granted to a person")
        return self

    @model_validator(mode="after")
    def _grants_what_it_needs(self) -> Self:
        if "SELECT" in self.permissions and "DESCRIBE" not in self.permissions:
            raise ValueError("SELECT needs DESCRIBE, for Athena looks at a table before it reads it")
        if self.rows is not None:
            _check_filter(self.rows)
        return self


class Columns(BaseModel):
    """The columns of the table, by their sensitivity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    public: list[str]
    personal: list[str]

    @model_validator(mode="after")
    def _are_those_of_the_table(self) -> Self:
        named = [*self.public, *self.personal]
        for problem, columns in (
            ("twice", {name for name in named if named.count(name) > 1}),
            ("but the table has no such column", {*named} - {*TABLE_COLUMNS}),
            ("nowhere: say whether it is public or personal", {*TABLE_COLUMNS} - {*named}),
        ):
            if columns:
                raise ValueError(f"{', '.join(sorted(columns))} is listed {problem}")
        return self


class Grants(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    columns: Columns
    grants: Annotated[list[Grant], Field(min_length=1)]

    @model_validator(mode="after")
    def _have_one_for_each(self) -> Self:
        """Grants add up, so a second one would show what the filter of the first hides."""
        names = [grant.name for grant in self.grants]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} has two grants, which would add up; write one")
        return self

    def columns_of(self, grant: Grant) -> list[str]:
        """What a grant shows of the table, in the order of the table."""
        shown = {name for one in grant.sensitivity for name in getattr(self.columns, one)}
        return [name for name in TABLE_COLUMNS if name in shown and "SELECT" in grant.permissions]

    def of(self, name: str) -> Grant:
        """The grant of a role or principal.

        Raises:
            GrantsError: there is none.
        """
        for grant in self.grants:
            if grant.name == name:
                return grant
        raise GrantsError(f"{name} has no grant; there are {', '.join(grant.name for grant in self.grants)}")


def sensitivity_of_view(sql: str, grants: Grants) -> Sensitivity:
    """What a view is: `personal` if it reads a column that is."""
    read = {column.name for column in sqlglot.parse_one(sql, read="athena").find_all(exp.Column)}
    return "personal" if read & {*grants.columns.personal} else "public"


def read(file: Path = FILE) -> Grants:
    """Read and check the file.

    Raises:
        GrantsError: there is no such file, or it is not as it should be.
    """
    try:
        return parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise GrantsError(f"{file}: {error.strerror}") from None
    except GrantsError as error:
        raise GrantsError(f"{file}: {error}") from None


def parse(text: str) -> Grants:
    """Read and check the text of the file.

    Raises:
        GrantsError: it is not as it should be.
    """
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise GrantsError(f"is no YAML: {' '.join(str(error).split())}") from None
    try:
        return Grants.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise GrantsError("; ".join(_sentence(fault["loc"], fault["msg"]) for fault in faults)) from None


def _sentence(place: Iterable[int | str], problem: str) -> str:
    where = ".".join(str(part) for part in place)
    told = problem.removeprefix("Value error, ")
    return f"{where}: {told}" if where else told


_COMPARISONS: Final = (
    *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Is, exp.Like),
    *(exp.And, exp.Or, exp.Not, exp.Paren),
)


def _check_filter(rows: str) -> None:
    """Refuse what is no condition on columns of the table, or more of SQL than a filter of rows needs."""
    try:
        condition = sqlglot.parse_one(rows, read="athena")
    except sqlglot.errors.SqlglotError:
        raise ValueError("rows is no condition in SQL") from None
    if not isinstance(condition, _COMPARISONS):
        raise ValueError("rows is no condition in SQL")
    allowed = (*_COMPARISONS, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean)
    for node in condition.walk():
        if not isinstance(node, allowed):
            raise ValueError(f"rows may compare columns with values, and has {node.key}")
    if unknown := {column.name for column in condition.find_all(exp.Column)} - {*TABLE_COLUMNS}:
        raise ValueError(f"rows names {', '.join(sorted(unknown))}, which the table does not have")
