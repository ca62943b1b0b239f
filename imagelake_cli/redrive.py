"""`imagelake redrive`: images that were rejected or failed go through the workflow again; for operators."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.progress import Progress, TaskID

from imagelake_cli import connection, hours, options
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import counted, say
from imagelake_cli.progress import bar, note
from imagelake_cli.redriving import ImageRedriving, RedriveError, Redriven

SAID: Final = {
    "redriven": "started again",
    "redrivable": "can be redriven",
    "final": "not redriven: its file is at fault, and another try gives the same answer. Have another file sent.",
    "processed": "not redriven: it is processed",
    "waiting": "not redriven: it has no outcome yet. If it got lost, it is started again within 75 minutes.",
    "changed": "not redriven: it has got another outcome meanwhile",
    "unknown": "not redriven: the lake does not know it, or it was erased or has expired",
    "gone": "not redriven: its raw object is gone",
}


def redrive(
    image_ids: Annotated[
        list[str] | None,
        typer.Argument(parser=options.image_id, metavar="IMAGE_ID", help="Of the images; or name hours."),
    ] = None,
    hour: hours.Hour = None,
    first: hours.First = None,
    last: hours.Last = None,
    everything: hours.Everything = False,
    code: Annotated[
        str | None,
        typer.Option(
            "--code",
            help="Only those whose reason has this code, such as script_error; failed images have fault or lost.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what can be redriven, and start nothing.")] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Start images again that failed, or that a script, a limit or the memory made the lake reject.

    Correct the cause first. The first version of the raw object is processed, as it came in. The outcome of an image
    stays until there is another, so it may be interrupted and run again. Ends with 0 when all images were started, with
    3 when one was not, and with 1 when something failed.
    """
    chosen = _chosen(image_ids, hour, first, last, code, everything=everything)
    counts, final = Counter[str](), 0
    with explained(connection.NoLakeError, RedriveError, BotoCoreError, ClientError, OSError):
        redriving = connection.image_redriving(stack, region, profile)
        with bar(len(chosen), "redriving") as (progress, task):
            for results, others in _redriven(redriving, chosen, code, dry_run=dry_run, progress=(progress, task)):
                final += others
                for one in results:
                    counts[one.result] += 1
                    _tell(one, as_json=as_json)
    _summarize(counts, final, dry_run=dry_run)
    if counts.keys() - {"redriven", "redrivable"}:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _chosen(
    image_ids: Sequence[str] | None,
    hour: datetime | None,
    first: datetime | None,
    last: datetime | None,
    code: str | None,
    *,
    everything: bool,
) -> Sequence[str] | Sequence[datetime]:
    if not image_ids:
        return hours.chosen(hour, first, last, everything=everything, beside="image ids, ")
    if hour is not None or first is not None or last is not None or everything:
        raise typer.BadParameter("give image ids or hours, not both")
    if code is not None:
        raise typer.BadParameter("goes with hours, not with image ids", param_hint="--code")
    return list(dict.fromkeys(image_ids))


def _redriven(
    redriving: ImageRedriving,
    chosen: Sequence[str] | Sequence[datetime],
    code: str | None,
    *,
    dry_run: bool,
    progress: tuple[Progress, TaskID],
) -> Iterator[tuple[list[Redriven], int]]:
    """The results as they come in, and how many images of an hour another try cannot change."""
    bar, task = progress
    named = [one for one in chosen if isinstance(one, str)]
    for results in redriving.redrive(named, dry_run=dry_run):
        yield results, 0
        bar.advance(task, len(results))
    for one in chosen:
        if isinstance(one, datetime):
            bar.update(task, description=f"{one:%Y-%m-%dT%H}")
            for found, final in redriving.find(one, code):
                yield [], final
                for results in redriving.redrive([image.image_id for image in found], dry_run=dry_run):
                    yield results, 0
            bar.advance(task)


def _tell(one: Redriven, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(one.model_dump()))
    else:
        say("  ".join(filter(None, (one.image_id, one.status, one.code, SAID[one.result]))))


def _summarize(counts: Counter[str], final: int, *, dry_run: bool) -> None:
    started, could = counts["redriven"], counts["redrivable"]
    done = f"{counted(could, 'image')} can be redriven" if dry_run else f"{counted(started, 'image')} started again"
    left = f", {refused} not" if (refused := counts.total() - started - could) else ""
    others = f"; another try cannot change {counted(final, 'other')}, whose files are at fault" if final else ""
    note(f"{done}{left}{others}")
