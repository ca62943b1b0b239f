"""One image through its scripts: what the child process does between its birth and its result."""

import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from PIL import Image

from imagelake.engine.decoders.opened_image import Decoding, OpenedImage
from imagelake.engine.guard import Header
from imagelake.engine.json_value import Json
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.scripts.encoder import encode
from imagelake.engine.scripts.metadata import check_size, to_json
from imagelake.engine.scripts.result import DECODER, DERIVATIVE_NAME, MAX_DETAIL, MAX_SAID, Output
from imagelake.errors import Rejection


@dataclass(frozen=True)
class LoadedScript:
    """A script that is compiled, but not run yet, or that cannot be compiled, and why."""

    name: str
    path: str
    code: CodeType | None
    problem: str = ""

    def run(self) -> ModuleType:
        """Execute the file as a module of its own.

        Raises:
            Rejection: it cannot be compiled, or has no `process`.
        """
        if self.code is None:
            raise Rejection(Reason.SCRIPT_ERROR, f"{self.name}: {self.problem}")
        module = ModuleType(f"scripts.{self.name}")
        module.__file__ = self.path
        exec(self.code, module.__dict__)  # noqa: S102  # executing a provided script is what this is for
        if not callable(getattr(module, "process", None)):
            raise Rejection(Reason.SCRIPT_ERROR, f"{self.name}: it has no function process(image, params)")
        return module


class Job:
    """An image, the scripts that want to see it, and what they have returned so far.

    Args:
        content: the file.
        header: what the guard found in it.
        scripts: in the order they run.
        params: for each script by name; one without gets none.
        limits: of this run.
        output: where the result goes.
        explains: whether the result says what scripts print, and the tracebacks of what they raise. Both may quote the
            image, so this is for the author of a script, with images of their own.
    """

    def __init__(
        self,
        content: bytes,
        header: Header,
        scripts: Sequence[LoadedScript],
        params: Mapping[str, Any],
        limits: Limits,
        output: Output,
        explains: bool = False,
    ) -> None:
        self._content = content
        self._header = header
        self._scripts = scripts
        self._params = params
        self._limits = limits
        self._output = output
        self._explains = explains
        self._said = StringIO()
        self._metadata: dict[str, Json] = {}
        self._derivatives: dict[str, tuple[dict[str, Json], bytes]] = {}

    def run(self) -> None:
        """Process the image and write the result, be it good or a rejection."""
        if self._explains:
            with redirect_stdout(self._said), redirect_stderr(self._said):
                document = self._result()
            document["said"] = self._said.getvalue()[-MAX_SAID:]
        else:
            document = self._result()
        self._output.write(document, (content for _, content in self._derivatives.values()))

    def _result(self) -> dict[str, Json]:
        try:
            stored = self._process()
        except Rejection as rejection:
            self._derivatives.clear()
            return {"rejected": [str(rejection.code), _in_one_line(rejection.detail)]}
        except Exception as error:  # noqa: BLE001  # no other try would end better, and the parent could not believe it
            self._derivatives.clear()
            frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
            problem = f"{DECODER}: {type(error).__name__} in {frame.f_code.co_name}, line {line}"
            return {"rejected": [str(Reason.DECODER_CRASHED), problem]}
        return {
            "stored": stored,
            "metadata": {**self._metadata},
            "derivatives": [description for description, _ in self._derivatives.values()],
        }

    def _process(self) -> Json:
        modules = [self._blame(script, script.run) for script in self._scripts]
        sides = [
            self._blame(script, lambda: _largest_side(script, module))  # noqa: B023  # called at once
            for script, module in zip(self._scripts, modules, strict=True)
        ]
        with self._output.phase(DECODER):
            decoding = Decoding(self._content, self._header, sides, self._output.phase)
        try:
            for script, module, side in zip(self._scripts, modules, sides, strict=True):
                image = OpenedImage(decoding, side)
                params = dict(self._params.get(script.name, {}))
                returned = self._blame(script, lambda: module.process(image, params))  # noqa: B023  # called at once
                self._blame(script, lambda: self._keep(script, returned))  # noqa: B023  # called at once
        finally:
            decoding.check()
        return decoding.stored

    def _blame[T](self, script: LoadedScript, act: Callable[[], T]) -> T:
        """Call `act`; whatever it raises is a rejection in the name of `script`."""
        with self._output.phase(script.name):
            try:
                return act()
            except Rejection:
                raise
            except MemoryError:
                raise Rejection(
                    Reason.SCRIPT_MEMORY, f"{script.name}: more than {self._limits.memory_mb} MB of memory"
                ) from None
            except BaseException as error:  # noqa: BLE001  # strangers' code, which may have exceptions of its own
                if self._explains:
                    _print(error, script.path)
                raise Rejection(Reason.SCRIPT_ERROR, f"{script.name}: {describe(error, script.path)}") from None

    def _keep(self, script: LoadedScript, returned: object) -> None:
        if not isinstance(returned, dict):
            raise _invalid(script, f"process returned {type(returned).__name__}, not a dict")
        for key in returned:
            if key not in ("metadata", "derivatives"):
                raise _invalid(script, "only metadata and derivatives can be returned")
        metadata = returned.get("metadata", {})
        if not isinstance(metadata, dict):
            raise _invalid(script, f"metadata is {type(metadata).__name__}, not a dict")
        kept = {name: to_json(value, f"{script.name}: metadata.{name}") for name, value in metadata.items()}
        check_size(kept, script.name, self._limits.max_metadata_bytes)
        self._metadata[script.name] = kept
        derivatives = returned.get("derivatives", {})
        if not isinstance(derivatives, dict):
            raise _invalid(script, f"derivatives is {type(derivatives).__name__}, not a dict")
        for name, image in derivatives.items():
            self._keep_derivative(script, name, image)

    def _keep_derivative(self, script: LoadedScript, name: object, image: object) -> None:
        if not isinstance(name, str) or not re.fullmatch(DERIVATIVE_NAME, name):
            raise _invalid(script, f"a derivative has a name that does not match {DERIVATIVE_NAME}")
        if not isinstance(image, Image.Image):
            raise _invalid(script, f"derivatives.{name} is {type(image).__name__}, not an image")
        if min(image.size) < 1 or max(image.size) > self._limits.max_side:
            raise _invalid(script, f"derivatives.{name} has a side of 0 or more than {self._limits.max_side} pixels")
        encoding, content = encode(image)
        description: dict[str, Json] = {
            "name": name,
            "extension": encoding.extension,
            "width": image.width,
            "height": image.height,
            "bytes": len(content),
        }
        self._derivatives[name] = description, content
        if len(self._derivatives) > self._limits.max_derivatives:
            raise _too_large(script, f"more than {self._limits.max_derivatives} derivatives")
        if sum(len(kept) for _, kept in self._derivatives.values()) > self._limits.max_output_bytes:
            raise _too_large(script, f"derivatives of more than {self._limits.max_output_bytes} bytes")


def _largest_side(script: LoadedScript, module: ModuleType) -> int | None:
    side = getattr(module, "LARGEST_SIDE", None)
    if side is not None and (not isinstance(side, int) or side < 1):
        raise _invalid(script, "LARGEST_SIDE is not a positive integer")
    return side


def _in_one_line(detail: str) -> str:
    """`detail` as a reason may be: names of types and keys, which are a script's, can have any character."""
    return "".join(one if one.isprintable() else " " for one in detail[:MAX_DETAIL])


def _print(error: BaseException, path: str) -> None:
    with suppress(BaseException):  # as in `describe`
        traceback.print_exception(error.with_traceback(_in_script(error, path)))


def _in_script(error: BaseException, path: str) -> TracebackType | None:
    """The traceback of `error` from the script at `path` on."""
    step = error.__traceback__
    while step and step.tb_frame.f_code.co_filename != path:
        step = step.tb_next
    return step


def describe(error: BaseException, path: str) -> str:
    """The type and the line in the script at `path`; never the message, which may quote the image's metadata."""
    try:
        return _describe(error, path)
    except BaseException:  # noqa: BLE001  # attributes of a script's exception can be code of the script
        return "an exception that raises another when it is looked at"


def _describe(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError) and error.filename == path and error.lineno:
        return f"{type(error).__name__} in line {error.lineno}: {error.msg}"  # it quotes the script at most
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    place = f" in line {lines[-1]}" if lines else ""
    if isinstance(error, ModuleNotFoundError) and isinstance(error.name, str) and _is_beside(error.name, path):
        place += ": a script is one file, and cannot import what lies beside it"
    return type(error).__name__ + place


def _is_beside(module: str, path: str) -> bool:
    folder = Path(path).parent
    return (folder / module).is_dir() or (folder / f"{module}.py").is_file()


def _invalid(script: LoadedScript, problem: str) -> Rejection:
    return Rejection(Reason.SCRIPT_OUTPUT_INVALID, f"{script.name}: {problem}")


def _too_large(script: LoadedScript, problem: str) -> Rejection:
    return Rejection(Reason.SCRIPT_OUTPUT_TOO_LARGE, f"{script.name}: {problem}")
