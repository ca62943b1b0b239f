"""What a child hands back: a file, which `job` writes and `runner` reads with suspicion.

64 bytes that say what is going on, eight that give the length of a JSON document, the document, and the encoded
derivatives one after another.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from imagelake.engine.json_value import Json

DECODER: Final = "decoder"
"""The phase in which a file is to blame, and not a script."""

DERIVATIVE_NAME: Final = "[a-z0-9][a-z0-9_]{0,63}"
"""The pattern of a derivative's name."""

CONTENT_TYPES: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""Of derivatives, by extension."""

MAX_DETAIL: Final = 500
"""Characters of the reason of a rejection."""

MAX_SAID: Final = 10_000
"""Characters, the last, of what scripts print, where somebody asked for it."""

_PHASE_BYTES = 64
_LENGTH_BYTES = 8


class Output:
    """The file, as the child has it; it begins in the phase `DECODER`."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._enter(DECODER)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """While it lasts, `name` is to blame if the child does not return."""
        before = self._phase
        self._enter(name)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, phase: str) -> None:
        self._phase = phase
        os.pwrite(self._file, phase.encode()[:_PHASE_BYTES].ljust(_PHASE_BYTES, b"\0"), 0)

    def write(self, document: Mapping[str, Json], contents: Iterable[bytes] = ()) -> None:
        """Write the result."""
        head = json.dumps(document, separators=(",", ":")).encode()
        position = _PHASE_BYTES
        for part in (len(head).to_bytes(_LENGTH_BYTES, "big"), head, *contents):
            position += os.pwrite(self._file, part, position)


def split(output: bytes) -> tuple[str, bytes, bytes]:
    """The phase, the document, and what follows it; the document is empty as long as there is none."""
    start = _PHASE_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(output[_PHASE_BYTES:start], "big")
    return output[:_PHASE_BYTES].rstrip(b"\0").decode(errors="replace"), output[start:end], output[end:]
