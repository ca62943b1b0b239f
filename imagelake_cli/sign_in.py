"""Signing in to a lake's user pool: one token for all threads, renewed before it is over."""

import os
import time
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

TOKEN_SECONDS: Final = 3000
"""How long a token is used: the pool's are good for an hour."""


class SignInError(Exception):
    """The pool refused; the message says what can be done."""


@dataclass
class SignIn:
    """A user of a pool; `client` needs no credentials of AWS."""

    client: "CognitoIdentityProviderClient"
    client_id: str
    username: str
    password: str = field(repr=False)
    _token: str = field(default="", init=False, repr=False)
    _until: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def token(self) -> str:
        """An ID token that is good for ten minutes at least.

        Raises:
            SignInError: the name or the password is wrong, or the user has to choose a password first.
            BotoCoreError: the pool could not be asked.
        """
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, self._until = self._ask(), time.monotonic() + TOKEN_SECONDS
            return self._token

    def _ask(self) -> str:
        try:
            answer = self.client.initiate_auth(
                ClientId=self.client_id,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": self.username, "PASSWORD": self.password},
            )
        except ClientError as error:
            detail = error.response["Error"].get("Message", "")
            raise SignInError(f"{self.username} could not sign in: {detail.rstrip('.') or error}.") from None
        if "AuthenticationResult" not in answer:
            raise SignInError(
                f"{self.username} has to choose a password first ({answer.get('ChallengeName', 'a challenge')}). "
                "An operator can set one: imagelake users reset."
            )
        return answer["AuthenticationResult"]["IdToken"]


def credentials(username: str | None) -> tuple[str, str]:
    """Name and password: what is given, else `IMAGELAKE_USERNAME` and `IMAGELAKE_PASSWORD`.

    Raises:
        SignInError: one of them is nowhere.
    """
    name, password = username or os.environ.get("IMAGELAKE_USERNAME"), os.environ.get("IMAGELAKE_PASSWORD")
    if not name or not password:
        missing = " and ".join(
            text
            for text, given in (("a name (--username or IMAGELAKE_USERNAME)", name), ("IMAGELAKE_PASSWORD", password))
            if not given
        )
        raise SignInError(f"Signing in needs {missing}.")
    return name, password
