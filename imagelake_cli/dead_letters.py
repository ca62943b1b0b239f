"""`imagelake dead-letters`: what did not go through, and why; for operators with credentials of the stack's account."""

import json
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from imagelake_cli import connection, options
from imagelake_cli.dead_letter_queue import Letter
from imagelake_cli.failures import explained
from imagelake_cli.formats import counted


def dead_letters(
    code: Annotated[
        str | None, typer.Option("--code", help="Only those whose reason has this code, such as script_error or fault.")
    ] = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """List the messages in the dead-letter queue, oldest first. They stay there, for four days.

    A message is about an image that was rejected or failed, or it is an event that could not be delivered, which has no
    code. Others do not see the messages while it lists.
    """
    with explained(connection.NoLakeError, BotoCoreError, ClientError):
        letters = connection.dead_letter_queue(stack, region, profile).letters()
    shown = [letter for letter in letters if code in (None, letter.code)]
    for letter in shown:
        typer.echo(json.dumps(_plain(letter)) if as_json else _line(letter))
    if not as_json:
        Console(stderr=True).print(counted(len(shown), "message"), style="dim", highlight=False)


def _plain(letter: Letter) -> dict[str, Any]:
    return {
        "sent_at": letter.sent_at.isoformat(timespec="seconds"),
        "image_id": letter.image_id,
        "status": letter.status,
        "code": letter.code,
        "message": letter.message,
    }


def _line(letter: Letter) -> str:
    """Whole fields: an image_id that is cut is of no use."""
    fields = (f"{letter.sent_at:%Y-%m-%dT%H:%M:%SZ}", letter.image_id, letter.status, letter.reason)
    return "  ".join(field or "-" for field in fields)
