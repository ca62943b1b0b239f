from typing import Any

import pytest
from PIL import Image

from scripts import near_duplicate, quality, redact
from tests.unit.pictures import photo


@pytest.mark.parametrize(
    ("image", "problems"),
    [
        (Image.effect_noise((200, 200), 60), []),
        (Image.effect_noise((9, 9), 60).resize((300, 300), Image.Resampling.BICUBIC), ["blurred"]),
        (Image.new("RGB", (200, 200), "grey"), ["blank"]),
        (Image.new("RGB", (200, 200), "white"), ["blank", "overexposed"]),
        (Image.new("L", (200, 200), 0), ["blank", "underexposed"]),
        (Image.new("RGBA", (1, 1), (128, 128, 128, 128)), ["blank"]),
    ],
)
def test_quality_names_what_is_wrong(image: Image.Image, problems: list[str]) -> None:
    assert quality.process(image, {})["metadata"]["problems"] == problems


def test_quality_takes_other_thresholds() -> None:
    thresholds = {"max_clipped": 0.05, "min_detail": 0}
    assert quality.process(photo(), thresholds)["metadata"]["problems"] == ["overexposed"]


def distance(left: str, right: str) -> int:
    return (int(left, 16) ^ int(right, 16)).bit_count()


def hashes(image: Image.Image, **params: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = near_duplicate.process(image, params)["metadata"]
    return metadata


def test_near_duplicates_have_nearly_the_same_hash() -> None:
    picture = Image.effect_noise((8, 8), 80).resize((256, 256), Image.Resampling.BICUBIC)
    original = hashes(picture)
    assert distance(original["dhash"], hashes(picture.resize((150, 150)))["dhash"]) <= 4
    assert distance(original["dhash"], hashes(picture.point(lambda level: level // 2))["dhash"]) <= 8
    assert distance(original["dhash"], hashes(photo(256, 256))["dhash"]) > 10
    assert [band[2:] for band in original["bands"]] == [original["dhash"][at : at + 4] for at in (0, 4, 8, 12)]


def test_near_duplicate_finds_turned_pictures() -> None:
    picture = Image.effect_noise((8, 8), 80).resize((256, 256), Image.Resampling.BICUBIC)
    turned = hashes(picture, turned=True)["turned"]
    left = hashes(picture.transpose(Image.Transpose.ROTATE_90))["dhash"]
    assert distance(turned["turned_left"], left) <= 2


def test_redact_names_what_it_removed_and_pixelates() -> None:
    image = photo(200, 100)
    image.getexif()[0x8825] = {1: "N"}
    image.info["comment"] = b"for your eyes only"
    result = redact.process(image, {"max_side": 100, "pixelate": 10})
    assert result["metadata"] == {"removed": ["comment", "exif", "gps"]}
    redacted = result["derivatives"]["redacted"]
    assert redacted.size == (100, 50)
    assert len(redacted.getcolors(10_000)) <= 50
