"""How a command ends that cannot do what it was asked: with a line, and no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console

INTERRUPTED: Final = 130
"""What a shell gives for a program that Ctrl-C has ended."""


@contextmanager
def explained(*expected: type[Exception]) -> Iterator[None]:
    """Ends the program with 1 and the error's own words for what is not the program's fault, and with 130 at Ctrl-C."""
    console = Console(stderr=True)
    try:
        yield
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # whoever reads has had enough, which Typer knows
        raise
    except expected as error:
        console.print("[red]Error[/red]", end=": ")
        console.print(_words(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
