"""`imagelake catalog`: what an operator does to the catalog, on AWS or on this machine."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import islice
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table

from imagelake_cli import connection, hours, options
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import counted, print_table
from imagelake_cli.progress import bar, note
from imagelake_cli.rebuilding import CatalogRebuilding, RebuildError, Rebuilt

app = typer.Typer(help="Look after the catalog.", no_args_is_help=True)

AT_ONCE: Final = 4
"""Hours that are rebuilt side by side."""


@app.callback()
def _group() -> None:
    """Look after the catalog."""


@app.command(epilog=options.example("imagelake catalog rebuild --hour 2026-11-22T09 --dry-run"))
def rebuild(
    hour: hours.Hour = None,
    first: hours.First = None,
    last: hours.Last = None,
    everything: hours.Everything = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing, and change nothing.")] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Bring back the rows that hours of the catalog have lost, from the images table.

    Hours without a loss are left as they are, so it may be run at any time and again. Queries go on meanwhile and see
    an hour as it was until they see it whole. Ends with 0 when no row is missing, with 3 when rows are, and with 1 when
    something failed; what was restored until then is kept.
    """
    chosen = hours.chosen(hour, first, last, everything=everything)
    with explained(connection.NoLakeError, RebuildError, BotoCoreError, ClientError, OSError):
        rebuilding = connection.catalog_rebuilding(stack, region, profile)
        results = []
        for result in _rebuilt(rebuilding, chosen, dry_run=dry_run):
            results.append(result)
            if as_json:
                typer.echo(json.dumps(result.model_dump(exclude={"finished"})))
        if not as_json:
            _print(results, dry_run=dry_run)
    if any(result.missing > result.restored for result in results):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _rebuilt(rebuilding: CatalogRebuilding, chosen: Sequence[datetime], *, dry_run: bool) -> Iterator[Rebuilt]:
    """The results as they come in, the hours in which there is nothing to do included."""
    newest_first = chosen[0] > chosen[-1]
    with bar(len(chosen), "starting") as (progress, task), ThreadPoolExecutor(AT_ONCE) as pool:

        def told(result: Rebuilt) -> None:
            progress.update(task, description=f"{result.hour}: {result.restored} of {result.missing} rows restored")

        left, waiting = iter(chosen), set[Future[Rebuilt]]()
        while True:
            for hour in islice(left, AT_ONCE - len(waiting)):
                waiting.add(pool.submit(rebuilding.rebuild, hour, dry_run=dry_run, progress=told))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in done:
                progress.advance(task)
                yield one.result()
            if newest_first and any(one.result().state == "due" for one in done):
                left = iter(())  # so are all that are older


def _print(results: Sequence[Rebuilt], *, dry_run: bool) -> None:
    """The hours in which something is missing or was, and a summary."""
    shown = sorted((one for one in results if one.state in ("incomplete", "rebuilt")), key=lambda one: one.hour)
    if shown:
        table = Table("hour", "state", "items", "rows", "missing", "restored", box=None)
        for one in shown:
            table.add_row(one.hour, one.state, *map(str, (one.items, one.rows, one.missing, one.restored)))
        print_table(table)
    counts = {state: sum(one.state == state for one in results) for state in ("complete", "open", "due")}
    missing, restored = (sum(getattr(one, name) for one in results) for name in ("missing", "restored"))
    done = f"{counted(missing, 'row')} missing" if dry_run else f"{restored} of {missing} missing rows restored"
    complete = counted(counts["complete"], "hour")
    note(f"{done}; {complete} complete, {counts['open']} still open, {counts['due']} past or about to be purged")
