"""`imagelake doctor`: what this machine can keep a provided script from."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from imagelake.engine import runner
from imagelake.engine.runner import Measure
from imagelake.errors import Fault
from imagelake_cli.failures import explained

_KEPT_FROM = {
    Measure.HIDDEN: "reading the memory and the environment of the programs that run it",
    Measure.SUBREAPER: "leaving a process behind that nobody finds at once",
    Measure.PARENT_DEATH_SIGNAL: "outliving the program that started it",
    Measure.CAPABILITIES: "using the rights of root",
    Measure.NO_NEW_PRIVILEGES: "gaining rights through a set-uid program",
    Measure.FILTER: "starting programs, opening sockets, and signalling or slowing down other processes",
    Measure.FILES: "reading your files, and writing outside its own folder",
    Measure.LIMITS: "taking all memory, processor time, disk space or processes",
}
"""What each measure keeps a script from."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, on standard output.")] = False,
) -> None:
    """Say what this machine can keep a provided script from, and what it cannot.

    Ends with 1 if it cannot keep it from all of that. Scripts run all the same.
    """
    with explained(Fault, OSError):
        held = runner.measures()
    if as_json:
        typer.echo(json.dumps({"confined": all(held.values()), "measures": held}))
    else:
        _show(held)
    if not all(held.values()):
        raise typer.Exit(1)


def _show(held: dict[Measure, bool]) -> None:
    table = Table("measure", "holds", "keeps a script from", box=None, pad_edge=False)
    for measure, holds in held.items():
        table.add_row(measure, "[green]yes[/]" if holds else "[red]no[/]", _KEPT_FROM[measure])
    console = Console()
    console.print(table)
    missing = sum(not holds for holds in held.values())
    if missing:
        console.print(
            f"\nThe kernel refuses {missing} of {len(held)} measures. Run only scripts that you would run without any; "
            "docs/scripts.md says what protects images then."
        )
    else:
        console.print("\nScripts are confined by all measures.")
