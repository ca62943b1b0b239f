"""`imagelake access`: who may read what of the catalog, by `governance/grants.yaml`, and whether a lake keeps to it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from imagelake_cli import connection, grants, options
from imagelake_cli.athena import QueryError, WorkGroup
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.grants import Grant, Grants, GrantsError

app = typer.Typer(help="Say who may read what of the catalog, and check it.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", help="The file of grants, in the folder of the repository.")]


@app.callback()
def _group() -> None:
    """Say who may read what of the catalog, and check it."""


@app.command(epilog=options.example("imagelake access show"))
def show(file: File = grants.FILE, as_json: options.AsJson = False) -> None:
    """Print what each role or group may read, as the file says.

    A file that is not as it should be ends it with 1 and a sentence. No lake is asked.
    """
    with explained(GrantsError):
        given = grants.read(file)
        if as_json:
            for grant in given.grants:
                typer.echo(json.dumps(_as_json(grant, given)))
            return
        for grant in given.grants:
            hidden = [name for name in grants.TABLE_COLUMNS if name not in given.columns_of(grant)]
            columns = f"all columns but {', '.join(hidden)}" if hidden else "all columns"
            rows = f"rows where {grant.rows}" if grant.rows else "all rows"
            typer.echo(f"{grant.name}: {', '.join(grant.permissions)} of {columns}; {rows}")


@app.command(epilog=options.example("imagelake access check --stack image-lake"))
def check(
    file: File = grants.FILE,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Ask a lake as each of its roles, and compare what they are shown with what the file says.

    Ends with 3 where a role is shown more or less. Groups that the stack does not make are passed over, since nobody
    can ask as they. It takes the right to assume the roles; rows are counted, and none is printed.
    """
    with explained(GrantsError, connection.NoLakeError, QueryError, BotoCoreError, ClientError):
        given = grants.read(file)
        wrong = False
        for grant in given.grants:
            if not grant.role or "SELECT" not in grant.permissions:
                continue
            group = connection.work_group(stack, region, profile, grant.role)
            problems = list(_problems(group, grant, given))
            wrong = wrong or bool(problems)
            if as_json:
                typer.echo(json.dumps({"role": grant.role, "as_granted": not problems, "problems": problems}))
            else:
                typer.echo(f"{grant.role}: {'; '.join(problems) or 'as granted'}")
        if wrong:
            raise typer.Exit(ExitCode.INCOMPLETE)


def _as_json(grant: Grant, given: Grants) -> dict[str, object]:
    return {
        "name": grant.name,
        "columns": given.columns_of(grant),
        "rows": grant.rows,
        "permissions": grant.permissions,
    }


def _problems(group: WorkGroup, grant: Grant, given: Grants) -> Iterator[str]:
    shown = {column.name for column in group.ask("SELECT * FROM images LIMIT 0").columns}
    expected = {*given.columns_of(grant)}
    if more := shown - expected:
        yield f"is shown {', '.join(sorted(more))}, which is not granted"
    if less := expected - shown:
        yield f"is not shown {', '.join(sorted(less))}"
    if grant.rows is not None:
        other = f"SELECT count(*) AS images FROM images WHERE NOT coalesce({grant.rows}, false)"  # noqa: S608  # of the file
        [[count]] = group.ask(other).rows
        if int(str(count)):
            yield f"is shown {count} rows that are not granted"
