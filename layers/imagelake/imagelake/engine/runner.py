"""Runs provided scripts on an image: the door to the engine.

`run_scripts` looks at the header (`guard`), and hands the image to a warm process (`sandbox`), which forks a child that
decodes (`decoders`), runs the scripts and encodes what they return (`scripts`). What comes back is held against what
can be known without decoding.
"""

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, StringConstraints, TypeAdapter

from imagelake.engine import guard
from imagelake.engine.columns import HeaderColumns
from imagelake.engine.json_value import Json
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.sandbox.measures import Measure
from imagelake.engine.sandbox.sandbox import Ending, Sandbox
from imagelake.engine.scripts import files
from imagelake.engine.scripts import result as script_result
from imagelake.engine.scripts.metadata import check_size, split_columns, to_json
from imagelake.engine.scripts.result import CONTENT_TYPES, DECODER, DERIVATIVE_NAME, MAX_DETAIL, MAX_SAID
from imagelake.errors import Rejection, SettingsError

__all__ = [
    "EncodedDerivative",
    "Limits",
    "Measure",
    "Reason",
    "RunRejection",
    "Script",
    "ScriptResult",
    "available_scripts",
    "ended_abnormally",
    "find_scripts",
    "measures",
    "run_scripts",
    "shut_down",
    "stop",
    "warm_up",
]


@dataclass(frozen=True)
class Script:
    """A provided script.

    Args:
        name: of the file, without `.py`.
        version: the first 12 hexadecimal digits of a SHA-256, see `scripts.files.version`.
        path: of the file.
    """

    name: str
    version: str
    path: Path

    @classmethod
    def from_file(cls, path: Path) -> "Script":
        """The script in the file at `path`."""
        return cls(path.stem, files.version(path), path)


@dataclass(frozen=True)
class EncodedDerivative:
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
        columns: values for columns of the catalog, `HeaderColumns` and `ScriptColumns`; where two
            scripts fill the same column, the last one wins.
        script_output: all other metadata, by script.
        derivatives: where two scripts use the same name, the last one wins.
        seconds: wall time of the child process.
        peak_memory_mb: its largest resident set, in MiB.
        said: what `run_scripts` was asked to explain.
    """

    columns: dict[str, Json]
    script_output: dict[str, dict[str, Json]]
    derivatives: tuple[EncodedDerivative, ...]
    seconds: float
    peak_memory_mb: float
    said: str = ""


class RunRejection(Rejection):
    """A rejection by `run_scripts`, with what it took to find out: seconds, and the largest resident set in MiB.

    `said` is what `run_scripts` was asked to explain.
    """

    def __init__(self, cause: Rejection, ending: Ending, said: str = "") -> None:
        super().__init__(cause.code, cause.detail)
        self.said = said
        self.seconds = ending.seconds
        self.peak_memory_mb = ending.peak_memory_mb


def find_scripts(names: Sequence[str]) -> tuple[Script, ...]:
    """The provided scripts of these names, in this order.

    Raises:
        SettingsError: there is no script of that name, or none was named.
    """
    if not names:
        raise SettingsError("no script is named")
    available = available_scripts()
    for name in names:
        if name not in available:
            there = ", ".join(sorted(available)) or "none"
            raise SettingsError(f"there is no provided script {name!r}; there are {there}")
    return tuple(Script.from_file(available[name]) for name in names)


@cache
def available_scripts() -> dict[str, Path]:
    """The files of the provided scripts, by name."""
    package = importlib.util.find_spec("scripts")
    folders = list(package.submodule_search_locations or []) if package else []
    return {file.stem: file for folder in reversed(folders) for file in Path(folder).glob("[!_]*.py")}


_thread = threading.local()
_at_work: set[Sandbox] = set()


def warm_up() -> Sandbox:
    """Start the warm process of this thread, if there is none; returns at once, while it starts."""
    if not hasattr(_thread, "sandbox"):
        _thread.sandbox = Sandbox()
    sandbox: Sandbox = _thread.sandbox
    return sandbox


def shut_down() -> None:
    """End the warm process of this thread, if there is one, with all that scripts have left."""
    if hasattr(_thread, "sandbox"):
        _thread.sandbox.close()
        del _thread.sandbox


def stop() -> None:
    """End what is running in other threads: they get a rejection as if its time were over, or a `SandboxError`."""
    for sandbox in list(_at_work):
        sandbox.interrupt()


def measures() -> dict[Measure, bool]:
    """Which measures confine the scripts that this thread runs.

    Raises:
        SandboxError: there is no warm process.
    """
    return warm_up().held()


def ended_abnormally() -> bool:
    """Whether the last run of this thread crashed, was ended, left processes or files, or made up its result.

    The next run gets a new warm process by itself. A program that may have been reached by what ran had better end.
    """
    return hasattr(_thread, "sandbox") and warm_up().is_given_up()


def run_scripts(
    content: bytes,
    scripts: Sequence[Script],
    params: Mapping[str, Mapping[str, Any]],
    limits: Limits,
    seconds: float,
    *,
    explains: bool = False,
) -> ScriptResult:
    """Run `scripts` one after another on the image in `content`, in a child process.

    Args:
        content: the file as it arrived.
        scripts: see `find_scripts`.
        params: parameters by script name.
        limits: of the image, the child and its output.
        seconds: wall time for everything.
        explains: whether to say what the scripts print and raise, which may quote the image.

    Raises:
        RunRejection: the image or a script is at fault; the code is one of `Reason`.
        SandboxError: the warm process is gone.
    """
    header = _inspect(content, limits)
    job = {
        "header": asdict(header),
        "scripts": [[script.name, str(script.path), script.version] for script in scripts],
        "params": {name: dict(values) for name, values in params.items()},
        "limits": asdict(limits),
        "explains": explains,
    }
    sandbox = warm_up()
    _at_work.add(sandbox)
    try:
        ending = sandbox.run(job, content, seconds)
    finally:
        _at_work.discard(sandbox)
    try:
        return _read(ending, header, [script.name for script in scripts], limits, seconds)
    except RunRejection:
        raise
    except Rejection as rejection:
        if isinstance(rejection, _ForgedError):
            sandbox.give_up()
        raise RunRejection(rejection, ending) from None


def _inspect(content: bytes, limits: Limits) -> guard.Header:
    started = time.monotonic()
    try:
        return guard.inspect(content, limits)
    except Rejection as rejection:
        raise RunRejection(rejection, Ending(False, 0, time.monotonic() - started, 0.0, b"")) from None


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


type _Said = Annotated[str, StringConstraints(max_length=MAX_SAID)]


class _Description(_Document):
    """Of a derivative, whose bytes follow the document."""

    name: Annotated[str, StringConstraints(pattern=f"^{DERIVATIVE_NAME}$")]
    extension: Literal["jpg", "png", "webp"]
    width: PositiveInt
    height: PositiveInt
    bytes: NonNegativeInt


class _Made(_Document):
    stored: HeaderColumns
    metadata: dict[str, dict[str, Any]]
    derivatives: list[_Description]
    said: _Said = ""


class _Rejected(_Document):
    said: _Said = ""
    rejected: tuple[Reason, Annotated[str, StringConstraints(pattern=rf"^[^\x00-\x1f\x7f]{{1,{MAX_DETAIL}}}$")]]


_DOCUMENT: TypeAdapter[_Made | _Rejected] = TypeAdapter(_Made | _Rejected)
_MAX_BYTES_BESIDE_METADATA = 65_536
_OF_HEADER: set[str] = {field.name for field in fields(guard.Header)}


def _read(ending: Ending, header: guard.Header, scripts: Sequence[str], limits: Limits, seconds: float) -> ScriptResult:
    """What the child has written, of which nothing is believed: a script can write there, too.

    Raises:
        Rejection: the child said so, or it ended before it could say anything, or what it said is malformed.
    """
    phase, document, contents = script_result.split(ending.output)
    phase = phase if phase in (DECODER, *scripts) else "script"
    if ending.timed_out or ending.exit != 0:
        raise _blame(phase, ending, limits, seconds)
    if not document:
        raise _ForgedError(Reason.SCRIPT_OUTPUT_INVALID, f"{phase}: the process ended without a result")
    if len(document) > len(scripts) * limits.max_metadata_bytes + _MAX_BYTES_BESIDE_METADATA:
        raise _broken()
    try:
        made = _DOCUMENT.validate_json(document)
    except ValueError:
        raise _broken() from None
    if isinstance(made, _Rejected):
        raise RunRejection(Rejection(*made.rejected), ending, made.said)
    _check(made, header, scripts, limits, len(contents))
    derivatives = tuple(_derivatives(made.derivatives, contents))
    _check_derivatives(derivatives, limits)
    return _to_result(made, derivatives, limits, ending)


def _blame(phase: str, ending: Ending, limits: Limits, seconds: float) -> Rejection:
    """A rejection for a child that did not come back, in the name of what it was doing."""
    if ending.timed_out:
        code = Reason.DECODER_TIMEOUT if phase == DECODER else Reason.SCRIPT_TIMEOUT
        return Rejection(code, f"{phase}: stopped after {seconds:.1f} s")
    code = Reason.DECODER_CRASHED if phase == DECODER else Reason.SCRIPT_CRASHED
    how = f"signal {-ending.exit}" if ending.exit < 0 else f"exit status {ending.exit}"
    return Rejection(code, f"{phase}: the process ended with {how}, within {limits.memory_mb} MB")


def _check(made: _Made, header: guard.Header, scripts: Sequence[str], limits: Limits, content_bytes: int) -> None:
    """Hold what the child says against the header, and check once more what it has checked.

    Raises:
        Rejection: it cannot be what the child wrote.
    """
    derivatives = made.derivatives
    is_possible = (
        made.stored.model_dump(include=_OF_HEADER) == asdict(header)
        and made.metadata.keys() <= set(scripts)
        and len({derivative.name for derivative in derivatives}) == len(derivatives) <= limits.max_derivatives
        and all(max(derivative.width, derivative.height) <= limits.max_side for derivative in derivatives)
        and sum(derivative.bytes for derivative in derivatives) == content_bytes <= limits.max_output_bytes
    )
    try:
        for script, values in made.metadata.items():
            check_size(
                {name: to_json(value, name) for name, value in values.items()}, script, limits.max_metadata_bytes
            )
    except Rejection:
        is_possible = False
    if not is_possible:
        raise _broken()


def _check_derivatives(derivatives: Sequence[EncodedDerivative], limits: Limits) -> None:
    """Hold each derivative against its own header: the type and size it is said to have.

    Raises:
        Rejection: it is something else.
    """
    own = replace(
        limits,
        max_bytes=limits.max_output_bytes,
        max_pixels=limits.max_side**2,
        max_total_pixels=limits.max_side**2,
        max_frames=1,
        formats=tuple(_FORMATS.values()),
    )
    for derivative in derivatives:
        try:
            header = guard.inspect(derivative.content, own)
        except Rejection:
            raise _broken() from None
        is_whole = _ENDS[header.format](derivative.content)
        said = guard.Header(_FORMATS[derivative.extension], derivative.width, derivative.height, 1)
        if header != said or not is_whole:
            raise _broken()


_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_ENDS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda content: content.endswith(b"\xff\xd9"),
    "PNG": lambda content: content.endswith(b"IEND\xaeB`\x82"),
    "WEBP": lambda content: int.from_bytes(content[4:8], "little") + 8 == len(content),
}
"""Whether nothing follows the picture, by format."""


class _ForgedError(Rejection):
    """What the engine would not have written: the process does not do what it should any more."""


def _broken() -> Rejection:
    return _ForgedError(Reason.SCRIPT_OUTPUT_INVALID, "a script broke the result of the engine")


def _to_result(made: _Made, derivatives: tuple[EncodedDerivative, ...], limits: Limits, ending: Ending) -> ScriptResult:
    columns: dict[str, Json] = made.stored.model_dump()
    script_output: dict[str, dict[str, Json]] = {}
    for script, values in made.metadata.items():
        filled, rest = split_columns(values, script)
        columns |= filled
        if rest:
            script_output[script] = rest
    size = len(json.dumps([columns, json.dumps(script_output)]))
    if size > limits.max_catalog_bytes:
        raise Rejection(
            Reason.SCRIPT_OUTPUT_TOO_LARGE,
            f"all scripts: {size} bytes for the catalog, the limit is {limits.max_catalog_bytes}",
        )
    return ScriptResult(columns, script_output, derivatives, ending.seconds, ending.peak_memory_mb, made.said)


def _derivatives(descriptions: Sequence[_Description], contents: bytes) -> Iterator[EncodedDerivative]:
    position = 0
    for description in descriptions:
        end = position + description.bytes
        yield EncodedDerivative(
            content_type=CONTENT_TYPES[description.extension],
            content=contents[position:end],
            **description.model_dump(exclude={"bytes"}),
        )
        position = end
