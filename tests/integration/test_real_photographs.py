import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from imagelake.engine.json_value import Json
from imagelake.engine.runner import Limits, find_scripts, run_scripts
from imagelake.errors import Rejection
from tests.integration import photographs

LIMITS = Limits()


@dataclass(frozen=True)
class Outcome:
    """What became of a file: its columns, or why it was rejected."""

    file: Path
    columns: dict[str, Json]
    reason: str = ""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    files = photographs.fetch()
    if not files:
        pytest.skip("the photographs are downloaded with Debian's tools, which did not work here")
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(process, files))


def process(file: Path, limits: Limits = LIMITS) -> Outcome:
    try:
        return Outcome(
            file, run_scripts(file.read_bytes(), find_scripts(["describe", "thumbnails"]), {}, limits, 20).columns
        )
    except Rejection as rejection:
        return Outcome(file, {}, rejection.code)


def pillow_decodes(file: Path) -> bool:
    content = file.read_bytes()
    with warnings.catch_warnings(action="ignore"):
        try:
            image = Image.open(BytesIO(content), formats=LIMITS.formats)
            image.load()
        except Exception:  # noqa: BLE001  # whatever it raises, it does not decode it
            return False
    return max(image.size) <= LIMITS.max_side and len(content) <= LIMITS.max_bytes


def test_no_photograph_is_rejected_that_pillow_decodes(outcomes: list[Outcome]) -> None:
    rejected = [outcome for outcome in outcomes if outcome.reason]
    assert len(outcomes) - len(rejected) >= 150
    assert [outcome for outcome in rejected if pillow_decodes(outcome.file)] == []


def test_no_damaged_file_takes_the_decoder_down(outcomes: list[Outcome]) -> None:
    reasons = {outcome.reason for outcome in outcomes}
    assert reasons & {"corrupt", "truncated"}
    assert not [reason for reason in reasons if reason.startswith(("decoder_", "script_"))]


def test_cameras_of_many_makers_are_recognised(outcomes: list[Outcome]) -> None:
    assert len({outcome.columns.get("camera_make") for outcome in outcomes}) >= 25


def test_places_are_on_earth_or_null(outcomes: list[Outcome]) -> None:
    places = [(outcome.columns.get("gps_lat"), outcome.columns.get("gps_lon")) for outcome in outcomes]
    known = [value for place in places for value in place if value is not None]
    assert len(known) >= 8
    assert all(isinstance(value, float) and math.isfinite(value) for value in known)


def test_heic_is_accepted_where_it_is_allowed(outcomes: list[Outcome]) -> None:
    pytest.importorskip("pi_heif")
    files = [outcome.file for outcome in outcomes if outcome.file.name in ("Stonehenge.heic", "IMG_3578.heic")]
    assert files
    assert {process(file).reason for file in files} == {"unsupported_format"}
    allowed = replace(LIMITS, formats=(*LIMITS.formats, "HEIF"))
    assert {process(file, allowed).columns.get("format") for file in files} == {"HEIF"}
