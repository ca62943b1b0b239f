"""What can go wrong, as types.

    ImageLakeError
    ├── Rejection            the input is at fault; trying again gives the same answer
    ├── InvalidKeyError      an object key outside the layout of `keys`
    ├── InvalidCursorError   a listing cannot go on from there
    ├── NotSignedInError     nobody knows who asks
    ├── NotAllowedError      who asks may not do this
    ├── SettingsError        the stack is misconfigured
    ├── UnfitReleaseError    a release does not do with built-in pictures what it should
    └── Fault                a service did not do its part; trying again may help
        └── OutOfTime        there is more to do than there was time for; trying again goes on

Anything else that is raised is a fault of ours. Faults are retried, then dead-lettered.
"""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self


class ImageLakeError(Exception):
    """Base of every error this package raises on purpose."""


class Rejection(ImageLakeError):  # noqa: N818  # a result, not an error
    """The image or record cannot be accepted, and why.

    Args:
        code: one of a closed list of lower-case words, e.g. `not_an_image`; safe to count and to show.
        detail: one sentence for the sender; never contains image data, file names or other personal data.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class InvalidKeyError(ImageLakeError):
    """An object key that does not follow the layout of `imagelake.keys`."""


class NotSignedInError(ImageLakeError):
    """The token of a request is none that counts here."""


class NotAllowedError(ImageLakeError):
    """The caller's groups do not allow what was asked for; the message says which do."""

    @classmethod
    def but_for(cls, groups: Sequence[str]) -> Self:
        """Only these groups may."""
        return cls(f"only members of {' or '.join(groups)} may do this")


class SettingsError(ImageLakeError):
    """A setting is missing or malformed; names the environment variable."""


class UnfitReleaseError(ImageLakeError):
    """A release did not process the built-in pictures; names the picture and the reason."""


class Fault(ImageLakeError):  # noqa: N818  # the workflow's word for what may be tried again
    """A service did not do its part.

    Args:
        message: the error's code and the operation, e.g. `AccessDenied on GetObject`; never what was sent.
        code: the error's code, for callers to whom one is an answer, such as `NoSuchKey`.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class OutOfTime(Fault):
    """There was more to do than there was time for.

    Args:
        done: how much was done, in the unit of what was asked for.
    """

    def __init__(self, done: int) -> None:
        super().__init__("out of time; the next try goes on", "OutOfTime")
        self.done = done


@contextmanager
def unforeseen() -> Iterator[None]:
    """Turn what nobody foresaw into a `Fault` that names its type and place only: a message may quote an image."""
    try:
        yield
    except ImageLakeError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is ours
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parent)]
        place = (ours or frames)[-1]
        raise Fault(f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}") from None


class InvalidCursorError(ImageLakeError):
    """A listing was asked to go on from a place that none of its pages named."""
