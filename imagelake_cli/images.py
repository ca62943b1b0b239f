"""`imagelake status`, `images` and `erase`: what became of images, and their end."""

import json
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from imagelake_cli import connection, moments, options
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import say
from imagelake_cli.lake_api import ApiError, LakeApi
from imagelake_cli.sign_in import SignInError

_UNKNOWN: Final = "the lake does not know it, or it was erased or has expired, or it is not yours"
_REFUSALS: Final = (connection.NoLakeError, SignInError, ApiError, BotoCoreError, ClientError, OSError)


class Status(StrEnum):
    """What the API says of an image's state."""

    AWAITING_UPLOAD = "awaiting_upload"
    PROCESSING = "processing"
    PROCESSED = "processed"
    REJECTED = "rejected"
    FAILED = "failed"


class Why(StrEnum):
    """Why an image is erased, for the receipt."""

    SENT_BY_MISTAKE = "sent_by_mistake"
    NO_LONGER_NEEDED = "no_longer_needed"
    DATA_SUBJECT_REQUEST = "data_subject_request"
    POLICY_VIOLATION = "policy_violation"
    LEGAL_ORDER = "legal_order"
    UNSPECIFIED = "unspecified"


def status(
    image_ids: options.ImageIds,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
    username: options.User = None,
    api_url: options.ApiUrl = None,
    client_id: options.ClientId = None,
) -> None:
    """Say what became of images.

    Ends with 0 when the lake knows all of them, and with 3 when it does not.
    """
    with explained(*_REFUSALS):
        api = connection.lake_api(connection.Reach(stack, region, profile, username, api_url, client_id))
        found = [(image_id, api.image(image_id)) for image_id in image_ids]
        for image_id, image in found:
            if image is None:
                Console(stderr=True).print(f"{image_id}: {_UNKNOWN}", markup=False, highlight=False, soft_wrap=True)
            elif as_json:
                typer.echo(json.dumps(image))
            else:
                _tell(image)
    if not all(image for _, image in found):
        raise typer.Exit(ExitCode.INCOMPLETE)


def images(
    only: Annotated[Status | None, typer.Option("--status", help="Only those in this state.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only those from there; api is uploads.")] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", parser=moments.moment, metavar="TIME", help="First moment of arrival."),
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", parser=moments.moment, metavar="TIME", help="Last moment of arrival.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Images at most.")] = 50,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
    username: options.User = None,
    api_url: options.ApiUrl = None,
    client_id: options.ClientId = None,
) -> None:
    """List your images, newest first."""
    asked = {"status": only.value if only else None, "source": source, "limit": str(min(limit, 100))}
    asked |= {name: moment.isoformat() if moment else None for name, moment in (("from", first), ("to", last))}
    with explained(*_REFUSALS):
        api = connection.lake_api(connection.Reach(stack, region, profile, username, api_url, client_id))
        found = list(islice(api.images(**{name: text for name, text in asked.items() if text}), limit))
    if as_json:
        for image in found:
            typer.echo(json.dumps(image))
    elif found:
        _list(found)
    else:
        Console(stderr=True).print("no images")


def erase(
    image_ids: options.ImageIds,
    reason: Annotated[Why, typer.Option("--reason", help="For the receipt.")] = Why.UNSPECIFIED,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
    username: options.User = None,
    api_url: options.ApiUrl = None,
    client_id: options.ClientId = None,
) -> None:
    """Erase images everywhere, now and for good; operators may erase anybody's.

    Ends with 0 when all of them are gone, and with 3 when one is not known, or its rows are still being looked for.
    """
    what = image_ids[0] if len(image_ids) == 1 else f"{len(image_ids)} images"
    if not yes and not typer.confirm(f"Erase {what} for good?", err=True):
        raise typer.Exit(ExitCode.FAILED)
    with explained(*_REFUSALS):
        api = connection.lake_api(connection.Reach(stack, region, profile, username, api_url, client_id))
        ends = [_erase(api, image_id, reason, as_json=as_json) for image_id in image_ids]
    if not all(ends):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _erase(api: LakeApi, image_id: str, reason: Why, *, as_json: bool) -> bool:
    try:
        is_gone = api.erase(image_id, reason.value)
        said = (
            "erased" if is_gone else "the image is gone, its rows are being looked for: ask again to hear that all is"
        )
    except ApiError as error:
        if error.status is None or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        is_gone, said = False, str(error)
    if as_json:
        typer.echo(json.dumps({"image_id": image_id, "erased": is_gone, "said": said}))
    else:
        say(f"{image_id}: {said}")
    return is_gone


def _tell(image: dict[str, Any]) -> None:
    metadata: dict[str, Any] = image.get("metadata") or {}
    lines = {name: image.get(name) for name in ("image_id", "status", "reason", "source", "received_at", "expires_at")}
    lines |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items() if value}
    derivatives: Sequence[dict[str, Any]] = image.get("derivatives") or ()
    lines |= {f"{one['name']} {one['width']}x{one['height']}": one["url"] for one in derivatives}
    width = max(map(len, lines))
    for name, value in lines.items():
        if value:
            say(f"{name:{width}}  {value}")


def _list(found: Sequence[dict[str, Any]]) -> None:
    """Lines of whole fields: an image_id that is cut is of no use."""
    for image in found:
        fields = [str(image.get(name) or "") for name in ("received_at", "image_id", "source", "status", "reason")]
        say("  ".join(fields).rstrip())
