"""The columns of the catalog table `images`, derived from `ImageRecord`: names in their order, with Hive types."""

from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from imagelake.model import Derivative, ImageRecord
from imagelake.values import Int32, Moment, Number

PARTITION_KEYS: Final = ("ingest_date", "hour")

_HIVE_TYPES: Final[list[tuple[Any, str]]] = [
    (Moment, "timestamp"),
    (Int32, "int"),
    (Number, "double"),
    (str, "string"),
    (int, "bigint"),
    (dict[str, str], "map<string,string>"),
    (list[Derivative], "array<string>"),
]


def _hive_type(annotation: Any) -> str:
    """The Hive type of a field; one that may be null has the type it has otherwise."""
    if get_origin(annotation) in (Union, UnionType):
        [annotation] = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        annotation = str
    return next(hive for kind, hive in _HIVE_TYPES if kind == annotation)


HIVE_COLUMNS: Final = {
    name: _hive_type(field.annotation) for name, field in ImageRecord.model_fields.items() if name not in PARTITION_KEYS
}
