"""`python -m local`: the whole lake on this machine."""

import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from kafka_poller.broker import BrokerError
from local import demo, lake
from local.deployment import DeploymentError
from local.emulator import EmulatorError

LOOK_SECONDS: Final = 2
ASLEEP_SECONDS: Final = 5
"""How long a machine that does much else may keep the lake waiting."""
console = Console()
app = typer.Typer(help="The whole of Image Lake on this machine, without an AWS account.", no_args_is_help=True)

Folder = Annotated[Path | None, typer.Option(help="Where the emulator keeps its files; by default a temporary folder.")]


@app.command()
def run(folder: Folder = None) -> None:
    """Start the lake, send the samples through it, and keep it running until Ctrl-C."""
    _show(folder, stay=True)


@app.command("demo")
def show_and_exit(folder: Folder = None) -> None:
    """Start the lake, send the samples through it, print what came of it, and stop."""
    _show(folder, stay=False)


def _show(folder: Path | None, *, stay: bool) -> None:
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell may start its background jobs deaf to SIGINT
        signal.signal(ending, _interrupt)
    began = time.monotonic()

    def report(step: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim]  {step}", highlight=False)

    try:
        if stay and lake.is_described():
            raise lake.LakeError(f"a lake runs in this folder already, described in {lake.DESCRIPTION}: stop it first")
        with lake.running(folder, report=report) as running:
            try:
                _use(running, report, stay=stay)
            except KeyboardInterrupt:
                console.print("Stopping.")  # what the lake has stored takes seconds to remove
                raise
        if not stay:
            console.print("The lake is stopped. `make run` keeps one running.")
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (EmulatorError, BrokerError, DeploymentError, lake.LakeError, demo.DemoError) as error:
        console.print(f"[red]{type(error).__name__}[/red]", end=": ")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(1)


def _use(running: lake.Lake, report: lake.Report, *, stay: bool) -> None:
    """Send the samples; the lake is described for other programs only if it stays."""
    with lake.described(running, report) if stay else nullcontext():
        report("Sending sample pictures")
        demo.show(running, console)
        report("Done")
        if stay:
            console.print(demo.how_to_go_on(running), highlight=False, markup=False, soft_wrap=True)
            console.print("The lake is running. Ctrl-C stops it.")
            _keep_running(running)


def _keep_running(running: lake.Lake) -> None:
    """Look after the lake until somebody stops it.

    Raises:
        LakeError: it does not go on, or nobody is left who could stop it.
    """
    parent = os.getppid()
    while (problem := running.problem()) is None:
        looked = time.time()
        time.sleep(LOOK_SECONDS)
        stopped = time.time() - looked - LOOK_SECONDS
        if stopped > ASLEEP_SECONDS:
            console.print(f"The lake was stopped for {stopped:.0f} s, as when a laptop sleeps. It goes on.")
        if "MAKELEVEL" in os.environ and os.getppid() != parent:
            raise lake.LakeError("the `make` that started it was killed")
    raise lake.LakeError(problem)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    app()
