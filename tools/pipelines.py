"""Checks `pipelines.yaml` and writes `pipelines.json`, which functions read.

    python -m tools.pipelines [--check]

With `--check` it compares instead of writing.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagelake import pipelines
from imagelake.engine.runner import available_scripts
from local.emulator import ROOT

SOURCE: Final = ROOT / "pipelines.yaml"
MAX_NAMES: Final = 1_000
"""Characters of all names of scripts: they are metadata of an object, of which S3 takes 2 KB, beside the limits."""


class InvalidPipelinesError(Exception):
    """What is wrong with the file, one finding a line: the file, the place, what is there and what is allowed."""


class _Part(BaseModel):
    """A mapping of the file. The description of a field says what is allowed there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _whole(least: int, most: int | None = None) -> Any:
    allowed = f"a whole number from {least} to {most}" if most else f"a whole number of at least {least}"
    return Field(ge=least, le=most, description=allowed)


class _Limits(_Part):
    max_bytes: int = _whole(1, 100_000_000)
    max_pixels: int = _whole(1)
    max_side: int = _whole(1)
    max_frames: int = _whole(1)
    max_total_pixels: int = _whole(1)
    max_scans: int = _whole(1)
    memory_mb: int = _whole(64, 10_240)


class _LargeLimits(_Part):
    max_pixels: int = _whole(1)
    max_side: int = _whole(1)
    max_total_pixels: int = _whole(1)


class _Pipeline(_Part):
    scripts: list[str] = Field(min_length=1, description="a list of one or more names of scripts")
    params: dict[str, dict[str, Any]] = Field(description="a mapping by script name, of mappings by parameter name")


class _Named(_Part):
    default: _Pipeline = Field(description="a mapping with scripts and params")


class _File(_Part):
    limits: _Limits = Field(description=f"a mapping with {', '.join(_Limits.model_fields)}")
    large_limits: _LargeLimits = Field(description=f"a mapping with {', '.join(_LargeLimits.model_fields)}")
    pipelines: _Named = Field(description="a mapping with the pipeline default")

    @classmethod
    def read(cls, file: Path) -> Self:
        """The file, whose mappings and values have the shape that they must have.

        Raises:
            InvalidPipelinesError: they do not.
        """
        try:
            document = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
        except FileNotFoundError:
            raise InvalidPipelinesError(f"{file.name}: is not there") from None
        except OSError as error:
            raise InvalidPipelinesError(f"{file.name}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidPipelinesError(f"{file.name}: {_explained(error)}") from None
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            findings = [f"{_place(fault['loc'])}: {_fault(fault)}" for fault in error.errors()]
            raise InvalidPipelinesError("\n".join(f"{file.name}: {finding}" for finding in findings)) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last, and says where a value cannot be read."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value at `node`."""
        try:
            return super().construct_object(node, deep)
        except (AttributeError, LookupError, ValueError):  # what the constructors of numbers, truth and times raise
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value[:80]!r} is no value of the kind that it is written as", node.start_mark
            ) from None

    def mapping(self, node: yaml.MappingNode) -> dict[Hashable, Any]:
        """The mapping at `node`."""
        read: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain value", key_node.start_mark)
            if key in read:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is there twice", key_node.start_mark
                )
            read[key] = self.construct_object(value_node, deep=True)
        return read

    def time(self, node: yaml.ScalarNode) -> Any:
        """The date or time at `node`."""
        return self.construct_yaml_timestamp(node)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
# SAM's library reads times as text once it is imported: not here.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.time)


def _explained(error: yaml.YAMLError | UnicodeDecodeError | RecursionError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not text in UTF-8"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).splitlines()[0]
    where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
    return f"{where}{error.problem}"


def _place(location: tuple[int | str, ...]) -> str:
    """A location of Pydantic's as in `pipelines.default.scripts[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "[key]")
    return text.removeprefix(".") or "the file"


def _fault(fault: Any) -> str:
    location = fault["loc"]
    part: type[BaseModel] = _File
    allowed = f"a mapping with {', '.join(_File.model_fields)}"
    for name in location[: -1 if fault["type"] == "extra_forbidden" else None]:
        if name not in part.model_fields:
            break
        field = part.model_fields[name]
        allowed = field.description or allowed
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        part = field.annotation
    if fault["type"] == "extra_forbidden":
        return f"the key is not known; allowed are {', '.join(part.model_fields)}"
    if fault["type"] == "missing":
        return f"is missing; required is {allowed}"
    return f"{fault['input']!r} is not allowed; allowed is {allowed}"


def _contradictions(file: _File, available: Collection[str]) -> Iterator[str]:
    """What is wrong although each value for itself is allowed."""
    limits, large = file.limits.model_dump(), file.large_limits.model_dump()
    for name, value in large.items():
        if value < limits[name]:
            yield f"large_limits.{name}: {value} is below limits.{name}; allowed is {limits[name]} or more"
    for section, values in (("limits", limits), ("large_limits", large)):
        if values["max_total_pixels"] < values["max_pixels"]:
            total, least = values["max_total_pixels"], values["max_pixels"]
            yield f"{section}.max_total_pixels: {total} is below {section}.max_pixels; allowed is {least} or more"
    for name, pipeline in ((name, getattr(file.pipelines, name)) for name in _Named.model_fields):
        yield from _of_pipeline(f"pipelines.{name}", pipeline, available)


def _of_pipeline(place: str, pipeline: _Pipeline, available: Collection[str]) -> Iterator[str]:
    if (characters := len(json.dumps(pipeline.scripts))) > MAX_NAMES:
        yield f"{place}.scripts: the names have {characters} characters as JSON; allowed are {MAX_NAMES}"
    for position, script in enumerate(pipeline.scripts):
        if script not in available:
            there = ", ".join(sorted(available))
            yield f"{place}.scripts[{position}]: there is no script {script!r}; allowed are {there}"
        elif script in pipeline.scripts[:position]:
            yield f"{place}.scripts[{position}]: {script!r} is there twice; a script runs once"
    for script, params in pipeline.params.items():
        if script not in pipeline.scripts:
            named = ", ".join(pipeline.scripts)
            yield f"{place}.params.{script}: the script is not in the pipeline; allowed are {named}"
        yield from _not_json(f"{place}.params.{script}", params)


def _not_json(place: str, value: Any) -> Iterator[str]:
    """Scripts get their parameters as JSON: no dates, sets or NaN, and only text as keys."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                yield f"{place}: the key {name!r} is not text; put it in quotes"
            yield from _not_json(f"{place}.{name}", inner)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _not_json(f"{place}[{position}]", inner)
    elif isinstance(value, float) and not abs(value) < float("inf"):
        yield f"{place}: {value} is not allowed; allowed is a finite number"
    elif not isinstance(value, str | int | float | None):
        yield f"{place}: {value!r} is not allowed; allowed are text, numbers, true, false, null, lists and mappings"


def written(source: Path = SOURCE, available: Collection[str] | None = None) -> str:
    """`source` as JSON: all limits of large images too, and the SHA-256 of the file, which `sam build` compares.

    Args:
        source: a file like `pipelines.yaml`.
        available: names of scripts; by default the provided ones.

    Raises:
        InvalidPipelinesError: the file is not valid.
    """
    file = _File.read(source)
    if findings := list(_contradictions(file, available_scripts() if available is None else available)):
        raise InvalidPipelinesError("\n".join(f"{source.name}: {finding}" for finding in findings))
    document = file.model_dump()
    document["large_limits"] = document["limits"] | document["large_limits"]
    document["pipelines_yaml_sha256"] = hashlib.sha256(source.read_bytes()).hexdigest()
    return json.dumps(document, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or say that it is not as it would be written; 1 if something is wrong."""
    try:
        text = written()
    except InvalidPipelinesError as error:
        print(error)
        return 1
    if "--check" not in arguments:
        pipelines.FILE.write_text(text, encoding="utf-8")
    elif not pipelines.FILE.is_file() or pipelines.FILE.read_text(encoding="utf-8") != text:
        print(f"{pipelines.FILE.relative_to(ROOT)} is not what pipelines.yaml says: run make pipelines")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
