"""How a command ends: its exit codes, and a sentence instead of a traceback where it cannot do what it was asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

import typer
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    TokenRetrievalError,
)
from rich.console import Console

from imagelake_cli.formats import printable


class ExitCode(IntEnum):
    """How a command of `imagelake` ends, for scripts; docs/cli.md says what 3 means of each command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    INTERRUPTED = 130


_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN: Final = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId"}
_DENIED: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
_KNOWN: Final = {
    "UsernameExistsException": "There is already a user of this name. imagelake users reset gives a new password.",
    "UserNotFoundException": "There is no user of this name. imagelake users add adds one.",
}
_SIGN_IN: Final = "Sign in anew, with aws sso login or whatever gives you credentials"
_WHO: Final = "aws sts get-caller-identity shows who you are"


@contextmanager
def explained(*expected: type[Exception]) -> Iterator[None]:
    """Ends the program with a sentence for what is not its fault: what is `expected`, and what AWS or a file refuses.

    The code is `ExitCode.FAILED`, and `ExitCode.INTERRUPTED` at Ctrl-C.
    """
    console = Console(stderr=True)
    try:
        yield
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:  # whoever reads has had enough, which Typer knows
        raise
    except Exception as error:
        if not isinstance(error, (*expected, BotoCoreError, ClientError, OSError)):
            raise
        console.print("[red]Error[/red]", end=": ")
        console.print(words(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.FAILED) from None


def words(error: Exception) -> str:
    """What went wrong, and what to do where that is known; one line."""
    match error:
        case ClientError():
            said = _refusal(error)
        case NoCredentialsError() | PartialCredentialsError():
            said = (
                "There are no credentials of AWS, or not all of them. Name a profile with --profile or AWS_PROFILE, or "
                "make one with aws configure."
            )
        case SSOError() | TokenRetrievalError() | CredentialRetrievalError():
            said = f"The credentials of AWS are over, or cannot be had: {error} {_SIGN_IN}."
        case ProfileNotFound():
            said = f"{error}. aws configure list-profiles names those there are."
        case NoRegionError():
            said = "No region is named: give --region, or set AWS_REGION, or give the profile one."
        case InvalidRegionError():
            said = f"{error}"
        case EndpointConnectionError() | ConnectTimeoutError() | ReadTimeoutError():
            said = f"{error} Is the region right, and is there a network?"
        case OSError(filename=str(name)):
            said = f"{name}: {error.strerror}"
        case _:
            said = str(error)
    return printable(" ".join(said.split()))


def _refusal(error: ClientError) -> str:
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    if code in _KNOWN:
        return _KNOWN[code]
    if code in _EXPIRED:
        return f"The credentials of AWS have expired. {_SIGN_IN}."
    if code in _UNKNOWN:
        return f"AWS does not know these credentials ({code}): they were deleted, or are of elsewhere. {_WHO}."
    if code in _DENIED:
        return f"{error}. imagelake doctor says which rights each command takes; {_WHO}."
    if code == "ValidationError" and "does not exist" in message:
        return f"{message}, in this region of this account: name the stack's region with --region. {_WHO}."
    return str(error)
