"""Options that several commands have, and the example at the end of their help."""

import re
from typing import Annotated

import typer

Stack = Annotated[
    str | None, typer.Option("--stack", help="A stack on AWS; without it, the local lake that is running.")
]
Region = Annotated[str | None, typer.Option("--region", help="Of the stack.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Of the AWS configuration.")]
User = Annotated[
    str | None,
    typer.Option("--username", envvar="IMAGELAKE_USERNAME", help="Who signs in; the password is IMAGELAKE_PASSWORD."),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url", envvar="IMAGELAKE_API_URL", help="Instead of --stack, with --client-id: ApiUrl of a stack."
    ),
]
ClientId = Annotated[
    str | None,
    typer.Option("--client-id", envvar="IMAGELAKE_CLIENT_ID", help="UserPoolClientId of the stack."),
]


def image_id(text: str) -> str:
    """As the API and the tables have them; an empty one, or a path, would be another request."""
    if not re.fullmatch(r"[0-9A-Za-z-]+", text):
        raise typer.BadParameter(f"{text!r} is no image_id")
    return text


ImageIds = Annotated[list[str], typer.Argument(parser=image_id, metavar="IMAGE_ID", help="Of the images.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, on standard output.")]


def example(command: str) -> str:
    """The last line of a command's help: how it is used."""
    return f"**Example**: `{command}`"
