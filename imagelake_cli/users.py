"""`imagelake users`: who may use the API; for operators with credentials of the stack's account."""

import json
import re
import secrets
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError

from imagelake.model import TENANT, TENANT_GROUP
from imagelake_cli import connection, options
from imagelake_cli.failures import explained

app = typer.Typer(help="Look after the users of the API.", no_args_is_help=True)

_GROUPS: Final = ("uploaders", "operators")

Name = Annotated[str, typer.Argument(help="Of the user.")]


@app.callback()
def _group() -> None:
    """Look after the users of the API."""


@app.command(epilog=options.example("imagelake users add ana --operator --stack image-lake"))
def add(
    name: Name,
    operator: Annotated[
        bool, typer.Option("--operator", help="Operator, not uploader: sees and erases anybody's.")
    ] = False,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Whose images the user sends: small letters, digits, dashes.")
    ] = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Add a user, and print the password; also where the user could not be put into the groups afterwards."""
    tenants = [] if tenant is None else [_checked(f"{TENANT_GROUP}{tenant}")]
    with explained(connection.NoLakeError, BotoCoreError, ClientError):
        pool = connection.user_pool(stack, region, profile)
        pool.add(name, password := _password())
        _tell(name, password, as_json=as_json)
        for group_name in ("operators" if operator else "uploaders", *tenants):
            pool.join(name, group_name)


@app.command(epilog=options.example("imagelake users reset ana --stack image-lake"))
def reset(
    name: Name,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Give a user a new password, print it, and end all sessions."""
    with explained(connection.NoLakeError, BotoCoreError, ClientError):
        connection.user_pool(stack, region, profile).reset(name, password := _password())
    _tell(name, password, as_json=as_json)


@app.command(epilog=options.example("imagelake users group ana operators --remove"))
def group(
    name: Name,
    group_name: Annotated[str, typer.Argument(metavar="GROUP", help="uploaders, operators, or tenant-NAME.")],
    remove: Annotated[bool, typer.Option("--remove", help="Out of the group, instead of into it.")] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Put a user into a group, or take one out of it; it holds from the next sign-in on."""
    _checked(group_name)
    with explained(connection.NoLakeError, BotoCoreError, ClientError):
        pool = connection.user_pool(stack, region, profile)
        (pool.leave if remove else pool.join)(name, group_name)
    if as_json:
        typer.echo(json.dumps({"username": name, "group": group_name, "is_member": not remove}))
    else:
        typer.echo(f"{name}: no longer in {group_name}" if remove else f"{name}: in {group_name}")


def _checked(group_name: str) -> str:
    if not group_name.startswith(TENANT_GROUP):
        if group_name not in _GROUPS:
            raise typer.BadParameter(f"{group_name!r} is none of {', '.join(_GROUPS)} and {TENANT_GROUP}NAME")
    elif not re.fullmatch(TENANT, group_name.removeprefix(TENANT_GROUP)):
        raise typer.BadParameter("a tenant is called by small letters, digits and dashes between them, 63 at most")
    return group_name


def _tell(name: str, password: str, *, as_json: bool) -> None:
    typer.echo(json.dumps({"username": name, "password": password}) if as_json else password)


def _password() -> str:
    """Of 131 bits, with the kinds of characters that the pool asks for."""
    return f"Aa1{secrets.token_urlsafe(16)}"
