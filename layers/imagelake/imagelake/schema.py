"""The columns of the catalog table `images`, derived from `ImageRecord`: names in their order, with Hive types."""

from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeAliasType, Union, get_args, get_origin

from imagelake.model import Derivative, ImageRecord
from imagelake.values import Expiry, Int32, Int64, Moment, Number

PARTITION_KEYS: Final = ("ingest_date", "hour")

_HIVE_TYPES: Final[list[tuple[Any, str]]] = [
    (Moment, "timestamp"),
    (Expiry, "timestamp"),
    (Int32, "int"),
    (Int64, "bigint"),
    (Number, "double"),
    (str, "string"),
    (dict[str, str], "map<string,string>"),
    (list[Derivative], "array<string>"),
]


def hive_type(annotation: Any) -> str:
    """The Hive type of a field; one that may be null has the type it has otherwise.

    Raises:
        TypeError: there is none, as for plain numbers, whose range nobody has said.
    """
    for kind, hive in _HIVE_TYPES:
        if kind == annotation:
            return hive
    if get_origin(annotation) in (Union, UnionType):
        [annotation] = [one for one in get_args(annotation) if one is not type(None)]
        return hive_type(annotation)
    if get_origin(annotation) is Annotated:
        return hive_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return hive_type(str)
    if isinstance(annotation, TypeAliasType):
        return hive_type(annotation.__value__)
    raise TypeError(f"no column of the catalog can be {annotation}")


HIVE_COLUMNS: Final = {
    name: hive_type(field.annotation) for name, field in ImageRecord.model_fields.items() if name not in PARTITION_KEYS
}
