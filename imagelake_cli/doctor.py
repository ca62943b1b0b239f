"""`imagelake doctor`: what this machine can keep a provided script from, or what keeps a lake from working."""

import json
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagelake.engine import runner
from imagelake.engine.runner import Measure
from imagelake.errors import Fault
from imagelake_cli import connection, options
from imagelake_cli.diagnosis import Finding, State
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import printable

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


_COLOURS: Final = {State.OK: "green", State.LOOK: "yellow", State.BROKEN: "red", State.UNKNOWN: "yellow"}


def doctor(
    lake: Annotated[bool, typer.Option("--lake", help="Check the local lake that is running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    stack: Annotated[str | None, typer.Option("--stack", help="Check a stack on AWS.")] = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Say what this machine can keep a provided script from; or, with --stack or --lake, what a lake lacks.

    Of the machine: ends with 1 if it cannot keep a script from all of that. Scripts run all the same.

    Of a lake: credentials, rights that commands take, outputs, quotas against the load of a day, dead letters, the last
    audit, alarms, event sources and schedules, each with what to do. Ends with 0 when all is well, with 3 when
    something needs a look, and with 1 when the lake could not be asked. What only a deployment can settle, such as
    Lambda's kernel, `make aws STACK=…` of the repository checks.
    """
    if lake and stack is not None:
        raise typer.BadParameter("goes without --stack", param_hint="--lake")
    if lake or stack is not None or region or profile:
        _check_lake(stack, region, profile, as_json=as_json)
    else:
        _check_machine(as_json=as_json)


def _check_lake(stack: str | None, region: str | None, profile: str | None, *, as_json: bool) -> None:
    findings: list[Finding] = []
    with explained(connection.NoLakeError, BotoCoreError, ClientError, OSError):
        for finding in connection.diagnosis(stack, region, profile).findings():
            findings.append(finding)
            _tell(finding, as_json=as_json)
    if unwell := [one for one in findings if one.state is not State.OK]:
        Console(stderr=True).print(f"{len(unwell)} of {len(findings)} need a look", highlight=False)
        raise typer.Exit(ExitCode.INCOMPLETE)


def _tell(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        plain = {"check": finding.check, "state": finding.state, "said": finding.said, "to_do": finding.to_do}
        typer.echo(json.dumps(plain))
        return
    state = Text(f"{finding.state:8}", style=_COLOURS[finding.state])
    said = f"{finding.check}: {finding.said.rstrip('.')}." + (f" To do: {finding.to_do}." if finding.to_do else "")
    Console().print(state.append(printable(said), style="default"), soft_wrap=True, highlight=False)


def _check_machine(*, as_json: bool) -> None:
    with explained(Fault, OSError):
        held = runner.measures()
    if as_json:
        typer.echo(json.dumps({"confined": all(held.values()), "measures": held}))
    else:
        _show(held)
    if not all(held.values()):
        raise typer.Exit(ExitCode.FAILED)


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
