"""Why an image is not accepted: the closed list. The sentences are where each is raised, mostly in `guard`."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Codes of `imagelake.errors.Rejection` that the engine gives. Safe to count and to show.

    `ENGINE_ANSWER_INVALID` is what the workflow says of an engine whose answer it does not believe.
    """

    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    SIDE_TOO_LONG = "side_too_long"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_MANY_SCANS = "too_many_scans"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_MEMORY = "decoder_memory"
    DECODER_CRASHED = "decoder_crashed"
    SCRIPT_ERROR = "script_error"
    SCRIPT_TIMEOUT = "script_timeout"
    SCRIPT_MEMORY = "script_memory"
    SCRIPT_CRASHED = "script_crashed"
    SCRIPT_OUTPUT_INVALID = "script_output_invalid"
    SCRIPT_OUTPUT_TOO_LARGE = "script_output_too_large"
    ENGINE_ANSWER_INVALID = "engine_answer_invalid"


OF_SCRIPTS: Final = frozenset(one for one in Reason if one.startswith("script_"))
"""What a script is at fault for."""
OF_THE_FILE: Final = frozenset({Reason.NOT_AN_IMAGE, Reason.CHECKSUM_MISMATCH, Reason.TRUNCATED, Reason.CORRUPT})
"""What no other script, limit or amount of memory changes: another try gives the same answer."""
