"""The columns of the catalog that the engine fills."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from imagelake.values import Int32, Latitude, Longitude, Moment, Number

type _Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,16}$")]
type _Mode = Literal[
    "1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa", "La", "I;16",
    "I;16L", "I;16B", "I;16N",
]  # fmt: skip
"""Of Pillow, all that there are."""


class HeaderColumns(BaseModel):
    """What the header of the file says; no provided script can fill these. See `imagelake.model.ImageRecord`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: _Word
    width: Annotated[Int32, Field(ge=1)]
    height: Annotated[Int32, Field(ge=1)]
    mode: _Mode
    frames: Annotated[Int32, Field(ge=1)]
    orientation: Annotated[Int32, Field(ge=1, le=8)]


class ScriptColumns(BaseModel):
    """What a provided script fills by returning metadata of that name. See `imagelake.model.ImageRecord`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    camera_make: str | None = None
    camera_model: str | None = None
    taken_at: Moment | None = None
    gps_lat: Latitude | None = None
    gps_lon: Longitude | None = None
    phash: str | None = None
    dominant_color: str | None = None
    brightness: Number | None = None
    sharpness: Number | None = None


HEADER_COLUMNS: Final = tuple(HeaderColumns.model_fields)
SCRIPT_COLUMNS: Final = tuple(ScriptColumns.model_fields)
