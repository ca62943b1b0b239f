"""Who asks, and what they may: the one place where the API decides over rights.

API Gateway has checked the token before a function sees it. It passes claims on as texts, lists joined with commas, and
a group may have a comma in its name; so groups are read from the token itself.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BaseModel, ConfigDict, Field

from imagelake.errors import NotAllowedError, NotSignedInError
from imagelake.model import TENANT, TENANT_GROUP


class Reach(StrEnum):
    """Whose images a request may be about."""

    OWN = "own"
    ANY = "any"


type Group = Literal["uploaders", "operators"]

RIGHTS: Final[Mapping[str, Mapping[Group, Reach]]] = {
    "POST /uploads": {"uploaders": Reach.OWN, "operators": Reach.OWN},
    "GET /images": {"uploaders": Reach.OWN, "operators": Reach.ANY},
    "GET /images/{image_id}": {"uploaders": Reach.OWN, "operators": Reach.ANY},
    "DELETE /images/{image_id}": {"uploaders": Reach.OWN, "operators": Reach.ANY},
}
"""By route, which groups may take it, and how far. Who is in several has the furthest, who is in none has none."""


@dataclass(frozen=True)
class Caller:
    """Who asks, by the subject of the token, whose images this request may be about, and the tenants they belong to."""

    subject: str
    reach: Reach
    tenants: frozenset[str] = frozenset()

    def may_see(self, uploader: str | None) -> bool:
        """Whether an image of this uploader, or of none, is within reach."""
        return self.reach is Reach.ANY or uploader == self.subject

    def sends_for(self) -> str | None:
        """The tenant whose images the caller sends, or None.

        Raises:
            NotAllowedError: there are several, so nobody knows whose an image would be.
        """
        if len(self.tenants) > 1:
            raise NotAllowedError(
                f"you belong to several tenants ({', '.join(sorted(self.tenants))}); send as one user of each"
            )
        return next(iter(self.tenants), None)


class _Token(BaseModel):
    """What counts of an ID token of Cognito."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    sub: str = Field(min_length=1, max_length=128)
    aud: str
    token_use: Literal["id"]
    groups: list[str] = Field(default=[], alias="cognito:groups")


@dataclass(frozen=True)
class Callers:
    """Those whom the stack's API answers."""

    user_pool_client_id: str

    def identify(self, event: APIGatewayProxyEvent) -> Caller:
        """Who makes a request, and how far they may go on its route.

        Raises:
            NotSignedInError: the token is no ID token for the stack's client, or not the one that API Gateway checked.
            NotAllowedError: no group of the caller's may take this route.
        """
        token = _token(event.headers.get("authorization", ""))
        checked: Any = event.request_context.authorizer.claims
        if token.aud != self.user_pool_client_id or token.sub != checked["sub"]:
            raise NotSignedInError
        allowed = RIGHTS[f"{event.http_method} {event.resource}"]
        reaches = {reach for group, reach in allowed.items() if group in token.groups}
        if not reaches:
            raise NotAllowedError.but_for(sorted(allowed))
        return Caller(token.sub, Reach.ANY if Reach.ANY in reaches else Reach.OWN, _tenants(token.groups))


def _tenants(groups: Iterable[str]) -> frozenset[str]:
    named = (group.removeprefix(TENANT_GROUP) for group in groups if group.startswith(TENANT_GROUP))
    return frozenset(name for name in named if re.fullmatch(TENANT, name))


def _token(header: str) -> _Token:
    parts = header.rpartition(" ")[2].split(".")
    try:
        return _Token.model_validate_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        raise NotSignedInError from None
