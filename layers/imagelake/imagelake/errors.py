"""What can go wrong, as types.

    ImageLakeError
    ├── Rejection            the input is at fault; trying again gives the same answer
    ├── InvalidKeyError      an object key outside the layout of `keys`
    └── SettingsError        the stack is misconfigured

Anything else that is raised is a fault: the platform's, a dependency's or ours. Faults are retried, then dead-lettered.
"""


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


class SettingsError(ImageLakeError):
    """A setting is missing or malformed; names the environment variable."""
