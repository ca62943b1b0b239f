"""What a function is told by the template: dataclasses that are read from the environment.

A field `raw_bucket` is read from the environment variable `RAW_BUCKET`. There are no defaults: a stack that forgets
one fails at its first call, with the name of the variable. Each room defines its own dataclasses, whose methods use
what they were told.
"""

import os
from dataclasses import fields, is_dataclass
from typing import Any, cast

from imagelake.errors import SettingsError

_loaded: dict[type, object] = {}


def load[T](kind: type[T]) -> T:
    """Read `kind`, a dataclass, from the environment, once per process.

    Its fields are `str`, `int` and `bool`, or dataclasses: one of a single field, such as `Bucket`, is made of the
    text of the variable, one of several fields, such as `CatalogTable`, of variables of its own.

    Raises:
        SettingsError: a variable is missing or is not of the field's type.
    """
    if kind not in _loaded:
        _loaded[kind] = kind(**{field.name: _read(field.name.upper(), field.type) for field in fields(kind)})  # type: ignore[arg-type]  # T is a dataclass
    return cast("T", _loaded[kind])


def forget() -> None:
    """Have `load` read the environment again."""
    _loaded.clear()


def _read(variable: str, kind: Any) -> object:
    if is_dataclass(kind) and len(fields(kind)) > 1:
        return load(cast("type[object]", kind))
    text = os.environ.get(variable)
    if text is None:
        raise SettingsError(f"{variable} is not set")
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{variable} must be a whole number, not {text!r}") from None
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingsError(f"{variable} must be true or false, not {text!r}")
        return text == "true"
    return kind(text)
