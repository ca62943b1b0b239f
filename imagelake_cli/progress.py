"""What commands say beside their answer, on standard error: how far they are, and a summary."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from imagelake_cli.formats import printable


@contextmanager
def bar(total: int, doing: str) -> Iterator[tuple[Progress, TaskID]]:
    """A bar while something goes on; nothing for a single thing, or where standard error is no terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    is_hidden = total < 2 or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        yield progress, progress.add_task(doing, total=total)


def note(text: str) -> None:
    """A line of a summary."""
    Console(stderr=True).print(printable(text), style="dim", markup=False, highlight=False, soft_wrap=True)
