"""Runs provided scripts on an image: the door to the engine.

`run_scripts` hands the image to a warm process (`sandbox`), which forks a child that guards (`image_guard`), decodes
(`opened_image`), runs the scripts and encodes what they return (`script_job`).
"""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from imagelake.errors import Rejection, SettingsError
from imagelake.limits import Limits
from imagelake.reason import Reason
from imagelake.sandbox import Ending, Sandbox, SandboxError
from imagelake.script_metadata import Json, split_columns

__all__ = [
    "Derivative",
    "Limits",
    "Reason",
    "RunRejection",
    "Script",
    "ScriptResult",
    "find_scripts",
    "run_scripts",
    "warm_up",
]

_PHASE_BYTES = 64


@dataclass(frozen=True)
class Script:
    """A provided script.

    Args:
        name: of the file, without `.py`.
        version: the first 12 hexadecimal digits of the SHA-256 of the file.
        path: of the file.
    """

    name: str
    version: str
    path: Path

    @classmethod
    def from_file(cls, path: Path) -> "Script":
        """The script in the file at `path`."""
        return cls(path.stem, hashlib.sha256(path.read_bytes()).hexdigest()[:12], path)


@dataclass(frozen=True)
class Derivative:
    """An image a script made, encoded, without metadata. `width` and `height` are pixels."""

    name: str
    extension: str
    content_type: str
    width: int
    height: int
    content: bytes


@dataclass(frozen=True)
class ScriptResult:
    """What a chain of scripts made of an image.

    Args:
        columns: values for columns of the catalog, `imagelake.model.HEADER_COLUMNS` and `SCRIPT_COLUMNS`; where two
            scripts fill the same column, the last one wins.
        script_output: all other metadata, by script.
        derivatives: where two scripts use the same name, the last one wins.
        seconds: wall time of the child process.
        peak_memory_mb: its largest resident set, in MiB.
    """

    columns: dict[str, Json]
    script_output: dict[str, dict[str, Json]]
    derivatives: tuple[Derivative, ...]
    seconds: float
    peak_memory_mb: float


class RunRejection(Rejection):
    """A rejection by `run_scripts`, with what it took to find out: seconds, and the largest resident set in MiB."""

    def __init__(self, cause: Rejection, ending: Ending) -> None:
        super().__init__(cause.code, cause.detail)
        self.seconds = ending.seconds
        self.peak_memory_mb = ending.peak_memory_mb


def find_scripts(names: Sequence[str]) -> tuple[Script, ...]:
    """The provided scripts of these names, in this order.

    Raises:
        SettingsError: there is no script of that name, or none was named.
    """
    if not names:
        raise SettingsError("PROCESSING_SCRIPTS names no script")
    available = _available_scripts()
    for name in names:
        if name not in available:
            raise SettingsError(
                f"PROCESSING_SCRIPTS names {name!r}, which is not among {', '.join(sorted(available)) or 'no scripts'}"
            )
    return tuple(Script.from_file(available[name]) for name in names)


@cache
def _available_scripts() -> dict[str, Path]:
    package = importlib.util.find_spec("scripts")
    folders = list(package.submodule_search_locations or []) if package else []
    return {file.stem: file for folder in reversed(folders) for file in Path(folder).glob("[!_]*.py")}


_thread = threading.local()


def warm_up() -> Sandbox:
    """Start the warm process of this thread, if there is none; returns at once, while it starts."""
    if not hasattr(_thread, "sandbox"):
        _thread.sandbox = Sandbox()
    sandbox: Sandbox = _thread.sandbox
    return sandbox


def run_scripts(
    content: bytes,
    scripts: Sequence[Script],
    params: Mapping[str, Mapping[str, Any]],
    limits: Limits,
    seconds: float,
) -> ScriptResult:
    """Run `scripts` one after another on the image in `content`, in a child process.

    Args:
        content: the file as it arrived.
        scripts: see `find_scripts`.
        params: parameters by script name.
        limits: of the image, the child and its output.
        seconds: wall time for everything.

    Raises:
        RunRejection: the image or a script is at fault; the code is one of `Reason`.
        SandboxError: the engine is at fault.
    """
    job = {
        "scripts": [[script.name, str(script.path), script.version] for script in scripts],
        "params": {name: dict(values) for name, values in params.items()},
        "limits": asdict(limits),
    }
    ending = warm_up().run(job, content, seconds)
    try:
        document, contents = _read_output(ending, limits, seconds)
        return _to_result(document, contents, ending)
    except Rejection as rejection:
        raise RunRejection(rejection, ending) from None


def _read_output(ending: Ending, limits: Limits, seconds: float) -> tuple[dict[str, Any], bytes]:
    """The child's document and the bytes after it.

    Raises:
        Rejection: the child said so, or it ended before it could say anything.
        SandboxError: the engine itself failed in the child.
    """
    if ending.timed_out or ending.exit != 0:
        raise _blame(ending, limits, seconds)
    length = int.from_bytes(ending.output[_PHASE_BYTES : _PHASE_BYTES + 8], "big")
    start = _PHASE_BYTES + 8
    try:
        document = json.loads(ending.output[start : start + length])
        if "rejected" in document:
            code, detail = document["rejected"]
            raise Rejection(Reason(code), str(detail))
    except (ValueError, TypeError):
        raise _tampered() from None
    if "fault" in document:
        raise SandboxError(str(document["fault"]))
    return document, ending.output[start + length :]


def _blame(ending: Ending, limits: Limits, seconds: float) -> Rejection:
    """A rejection for a child that did not come back, in the name of what it was doing."""
    phase = ending.output[:_PHASE_BYTES].rstrip(b"\0").decode(errors="replace")
    in_decoder = phase in ("", "decoder")
    if ending.timed_out:
        code = Reason.DECODER_TIMEOUT if in_decoder else Reason.SCRIPT_TIMEOUT
        return Rejection(code, f"{phase}: stopped after {seconds:.1f} s")
    code = Reason.DECODER_CRASHED if in_decoder else Reason.SCRIPT_CRASHED
    how = f"signal {-ending.exit}" if ending.exit < 0 else f"exit status {ending.exit}"
    return Rejection(code, f"{phase}: the process ended with {how}, within {limits.memory_mb} MB")


def _to_result(document: dict[str, Any], contents: bytes, ending: Ending) -> ScriptResult:
    try:
        metadata = {str(name): dict(values) for name, values in document["metadata"].items()}
        derivatives = tuple(_derivatives(document["derivatives"], contents))
        columns = {name: document["stored"][name] for name in document["stored"]}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _tampered() from None
    script_output: dict[str, dict[str, Json]] = {}
    for script, values in metadata.items():
        filled, rest = split_columns(values, script)
        columns |= filled
        if rest:
            script_output[script] = rest
    return ScriptResult(columns, script_output, derivatives, ending.seconds, ending.peak_memory_mb)


def _derivatives(descriptions: list[dict[str, Any]], contents: bytes) -> list[Derivative]:
    derivatives, position = [], 0
    for description in descriptions:
        size = int(description.pop("bytes"))
        derivatives.append(Derivative(**description, content=contents[position : position + size]))
        position += size
    return derivatives


def _tampered() -> Rejection:
    return Rejection(Reason.SCRIPT_OUTPUT_INVALID, "a script wrote over the result of the engine")
