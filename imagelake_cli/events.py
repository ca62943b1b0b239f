"""`imagelake events`: what an operator does with the events of a stack, on AWS or on this machine."""

import json

import typer
from botocore.exceptions import BotoCoreError, ClientError

from imagelake_cli import connection, hours, options
from imagelake_cli.failures import explained
from imagelake_cli.formats import counted
from imagelake_cli.progress import bar, note
from imagelake_cli.publishing import Published, PublishError

app = typer.Typer(help="Look after the events.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look after the events."""


@app.command(epilog=options.example("imagelake events publish --hour 2026-11-22T09"))
def publish(
    hour: hours.Hour = None,
    first: hours.First = None,
    last: hours.Last = None,
    everything: hours.Everything = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Put the events of all outcomes of hours again, from the images table.

    For hours whose events were lost: `publish_outcomes` could not put them for a day. Each event has the id that it had
    the first time, so who was told already can drop it. Ends with 1 when something failed.
    """
    chosen = hours.chosen(hour, first, last, everything=everything)
    with explained(connection.NoLakeError, PublishError, BotoCoreError, ClientError, OSError):
        publishing = connection.publishing(stack, region, profile)
        total = 0
        with bar(len(chosen), "starting") as (progress, task):

            def told(answer: Published) -> None:
                progress.update(task, description=f"{answer.hour}: {answer.published} events")

            for one in chosen:
                result = publishing.publish(one, told)
                total += result.published
                progress.advance(task)
                if as_json:
                    typer.echo(json.dumps(result.model_dump(exclude={"after"})))
        if not as_json:
            note(f"{counted(total, 'event')} of {counted(len(chosen), 'hour')} published")
