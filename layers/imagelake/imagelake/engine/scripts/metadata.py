"""What a script may return as metadata: JSON, and for the columns of the catalog the types of the catalog."""

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from imagelake.engine.json_value import Json
from imagelake.engine.reason_codes import Reason
from imagelake.errors import Rejection

_MAX_DEPTH = 8
_MAX_INTEGER = 1 << 63


def to_json(value: object, path: str, depth: int = 0) -> Json:
    """`value` as plain JSON; tuples become lists.

    Raises:
        Rejection: with the path of the first value that is not JSON: another type, NaN, an integer beyond 64 bits, a
            key that is not a string, or more than eight levels.
    """
    if depth > _MAX_DEPTH:
        raise _invalid(path, f"more than {_MAX_DEPTH} levels deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -_MAX_INTEGER <= value < _MAX_INTEGER:
            raise _invalid(path, "an integer beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid(path, f"{float(value)} is not a JSON number")
        return float(value)
    if isinstance(value, str):
        return _to_text(value, path)
    if isinstance(value, list | tuple):
        return [to_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_to_key(key, path): to_json(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    raise _invalid(path, f"{type(value).__name__} is not a JSON type")


def _to_text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(path, "text that is not Unicode") from None
    return str(value)


def _to_key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _invalid(path, f"a key that is {type(key).__name__}, not text")
    return _to_text(key, path)


def check_size(metadata: Mapping[str, Json], script: str, max_bytes: int) -> None:
    """Hold the metadata of one script against `max_bytes` of JSON.

    Raises:
        Rejection: it takes more.
    """
    size = len(json.dumps(metadata, separators=(",", ":")))
    if size > max_bytes:
        raise Rejection(
            Reason.SCRIPT_OUTPUT_TOO_LARGE, f"{script}: metadata of {size} bytes as JSON, the limit is {max_bytes}"
        )


def split_columns(metadata: Mapping[str, Json], script: str) -> tuple[dict[str, Json], dict[str, Json]]:
    """Metadata that fills columns of the catalog, as the catalog types have it, and the rest.

    Raises:
        Rejection: with the path of a value its column cannot hold, or of one for a column that is not a script's.
    """
    from imagelake.engine.columns import HEADER_COLUMNS, SCRIPT_COLUMNS

    for name in metadata:
        if name in HEADER_COLUMNS:
            raise _invalid(f"{script}: metadata.{name}", "this column is filled from the header of the file")
    columns = {name: _to_column(name, value, script) for name, value in metadata.items() if name in SCRIPT_COLUMNS}
    return columns, {name: value for name, value in metadata.items() if name not in SCRIPT_COLUMNS}


@cache
def _column_type(name: str) -> Any:
    from pydantic import TypeAdapter

    from imagelake.engine.columns import ScriptColumns

    return TypeAdapter(ScriptColumns.model_fields[name].annotation)


def _to_column(name: str, value: Json, script: str) -> Json:
    from pydantic import ValidationError

    column_type = _column_type(name)
    try:
        column: Json = column_type.dump_python(column_type.validate_json(json.dumps(value), strict=True), mode="json")
    except ValidationError as error:
        raise _invalid(f"{script}: metadata.{name}", error.errors(include_input=False)[0]["msg"]) from None
    return column


def _invalid(path: str, problem: str) -> Rejection:
    return Rejection(Reason.SCRIPT_OUTPUT_INVALID, f"{path}: {problem}")
