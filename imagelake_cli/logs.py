"""`imagelake logs`: what was logged about one image; for operators with credentials of the stack's account."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from imagelake_cli import connection, options
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import say
from imagelake_cli.image_logs import Line

_USUAL: Final = {
    "_aws", "cold_start", "function_arn", "function_memory_size", "function_name", "function_request_id", "level",
    "location", "message", "service", "time", "timestamp", "type", "xray_trace_id",
}  # fmt: skip
"""Fields of a line that are the same in all lines of a function, or have a column of their own."""


def _image_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no image_id") from None


def logs(
    image_id: Annotated[UUID, typer.Argument(parser=_image_id, metavar="IMAGE_ID", help="Of the image.")],
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Print what functions and workflow have logged about an image, by time: when, who, level, what.

    Lines that name the image, and the others of the same invocations, from all log groups of the stack and its nested
    stacks. Logs are kept for some days, and say nothing of what is in the image. Ends with 0, or with 3 when nothing
    was logged.
    """
    with explained(connection.NoLakeError, BotoCoreError, ClientError, OSError):
        lines = connection.image_logs(stack, region, profile).of(image_id, datetime.now(UTC))
    for line in lines:
        say(json.dumps(_plain(line)) if as_json else _told(line))
    if not lines:
        Console(stderr=True).print(
            f"{image_id}: nothing was logged, or it is no longer kept; imagelake status says what became of the image",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(ExitCode.INCOMPLETE)


def _plain(line: Line) -> dict[str, Any]:
    return {
        "time": line.at.isoformat(timespec="milliseconds"),
        "source": line.source,
        "stream": line.stream,
        "line": line.content,
    }


def _told(line: Line) -> str:
    level, said = "-", ""
    fields: dict[str, Any] = {}
    match line.content:
        case {"type": str(kind), "record": dict(record)}:  # Lambda's own lines
            said, fields = kind, record
        case dict(content):
            fields = content
            level, said = str(content.get("level", "-")), str(content.get("message", "metrics"))
        case text:
            said = str(text)
    told = (f"{name}={_short(value)}" for name, value in fields.items() if name not in _USUAL)
    return "  ".join([f"{line.at:%H:%M:%S.%f}"[:12], f"{line.source:20}", f"{level:5}", said, *told])


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
