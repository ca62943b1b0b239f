"""`imagelake upload`: files and folders into the lake, each once."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import platformdirs
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from imagelake_cli import connection, journal, options, uploading
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import printable, say
from imagelake_cli.lake_api import ApiError, LakeApi
from imagelake_cli.progress import bar
from imagelake_cli.sign_in import SignInError
from imagelake_cli.uploading import Chosen, Sent

_SHOWN: Final = 20
"""Files that are named one by one; --json names all."""
_WORDS: Final = {"known": "sent before", "pending": "without an outcome yet"}
"""For states that are no words by themselves."""


def upload(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with all that is in them.", exists=True)],
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=TEXT", help="A tag of every image; may be repeated.")
    ] = None,
    at_once: Annotated[int, typer.Option("--at-once", min=1, max=32, help="Files that are sent side by side.")] = 8,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every image is processed.")] = False,
    wait_seconds: Annotated[float, typer.Option("--wait-seconds", min=1, help="How long to wait at most.")] = 600,
    again: Annotated[bool, typer.Option("--again", help="Send also what was sent before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
    username: options.User = None,
    api_url: options.ApiUrl = None,
    client_id: options.ClientId = None,
) -> None:
    """Send pictures to the lake: all in the folders that are given, and files by name.

    It may be stopped and started again: what has arrived is passed over, what was under way is finished, and nothing is
    sent twice. In folders, files that are no pictures are passed over, and what cannot be read is named. On AWS the
    password is IMAGELAKE_PASSWORD; whoever has no credentials of AWS names the lake by --api-url and --client-id
    (outputs ApiUrl and UserPoolClientId) instead of --stack. Ends with 0 when all is in the lake, with 3 when a file is
    not, and with 1 when nothing could be sent.
    """
    reach = connection.Reach(stack, region, profile, username, api_url, client_id)
    parsed = _tags(tags or [])
    with explained(connection.NoLakeError, SignInError, ApiError, BotoCoreError, ClientError, sqlite3.Error, OSError):
        chosen = uploading.choose(paths)
        results = list(chosen.unread)
        if dry_run:
            _tell_chosen(chosen, as_json=as_json)
        else:
            api = connection.lake_api(reach)
            file = platformdirs.user_state_path("imagelake") / "uploads.sqlite"
            with journal.opened(file, api.base_url) as kept, bar(len(chosen.files), "sending") as (progress, task):
                for one in uploading.send(api, kept, chosen.files, parsed, at_once, again=again):
                    results.append(one)
                    progress.advance(task)
            if wait:
                results = _waited(api, results, wait_seconds, at_once)
            _report(results, chosen.others, as_json=as_json)
    if not all(one.is_well for one in results):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _tags(texts: Sequence[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=TEXT", param_hint="--tag")
        tags[name] = value
    return tags


def _tell_unwell(console: Console, one: Sent) -> None:
    said = printable(f"{one.state}: {one.path}: {one.reason}")
    console.print(said, markup=False, highlight=False, soft_wrap=True)


def _tell_chosen(chosen: Chosen, *, as_json: bool) -> None:
    for path in map(uploading.place, chosen.files):
        say(json.dumps({"path": path, "state": "would_be_sent"}) if as_json else path)
    console = Console(stderr=True)
    for one in chosen.unread:
        if as_json:
            typer.echo(json.dumps({"path": one.path, "state": one.state, "reason": one.reason}))
        _tell_unwell(console, one)
    console.print(f"{len(chosen.files)} would be sent, {chosen.others} are no pictures", highlight=False)


def _waited(api: LakeApi, results: Sequence[Sent], seconds: float, at_once: int) -> list[Sent]:
    arrived = [one for one in results if one.is_well]
    ended = [one for one in results if not one.is_well]
    with bar(len(arrived), "waiting") as (progress, task):
        for one in uploading.await_ends(api, arrived, seconds, at_once):
            ended.append(one)
            progress.advance(task)
    return ended


def _report(results: Sequence[Sent], others: int, *, as_json: bool) -> None:
    ordered = sorted(results, key=lambda one: one.path)
    if as_json:
        for one in ordered:
            typer.echo(
                json.dumps({"path": one.path, "state": one.state, "image_id": one.image_id, "reason": one.reason})
            )
    console = Console(stderr=True)
    well, unwell = [one for one in ordered if one.is_well], [one for one in ordered if not one.is_well]
    if not as_json and len(well) <= _SHOWN:
        for one in well:
            say(f"{one.image_id}  {_WORDS.get(one.state, one.state)}  {one.path}")
    for one in unwell[:_SHOWN]:
        _tell_unwell(console, one)
    if len(unwell) > _SHOWN:
        console.print(f"and {len(unwell) - _SHOWN} more; --json names all", highlight=False)
    counts = Counter(one.state for one in ordered)
    told = [f"{count} {_WORDS.get(state, state)}" for state, count in sorted(counts.items())]
    told += [f"{others} passed over as no pictures"] if others else []
    console.print(", ".join(told) or "nothing to send", highlight=False)
