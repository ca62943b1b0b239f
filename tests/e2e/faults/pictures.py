"""Images to send, each of bytes of its own, and what should become of each."""

import hashlib
import io
import random
from dataclasses import dataclass
from itertools import cycle, islice

from PIL import Image, ImageOps

from local.samples import landscape, make_samples
from tests.integration import photographs
from tests.integration.hostile_corpus import ANY, corpus

FORMATS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "TIFF": "tiff", "BMP": "bmp", "GIF": "gif"}
HOSTILE = ("other", "cut", "polyglot", "metadata")
LARGEST_BYTES = 1_000_000
"""Of a file of others: it goes through Kafka as well."""
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Picture:
    """A file to send.

    Without content it is a claim check for an object that is none of the lake's business.

    Args:
        name: of the file.
        content: its bytes.
        content_type: as its sender says.
        outcomes: the codes of the reasons that are right for it; `processed` stands for success.
    """

    name: str
    content: bytes
    content_type: str
    outcomes: frozenset[str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


CLAIM = Picture("claim", b"", "image/jpeg", frozenset({"claim_not_allowed"}))
"""A message that the Kafka door refuses."""


def pictures(many: int, seed: int) -> list[Picture]:
    """A third of them painted, a third hostile, a sixth samples and a sixth photographs; the same of the same seed.

    Where the photographs could not be downloaded, there are painted ones in their place.
    """
    chance = random.Random(seed)  # noqa: S311  # no secret
    hostile = [file for group in HOSTILE for file in corpus(group) if 0 < len(file.content) <= LARGEST_BYTES]
    chance.shuffle(hostile)
    samples = make_samples()
    taken = [file for file in photographs.fetch() if 0 < file.stat().st_size <= LARGEST_BYTES]
    chance.shuffle(taken)
    kinds = cycle("psphfh" if taken else "psphph")
    found: list[Picture] = []
    for number, kind in enumerate(islice(kinds, many)):
        if kind == "p":
            found.append(_painted(number, seed))
        elif kind == "s":
            sample = samples[number // 6 % len(samples)]
            outcomes = {"processed"} if sample.status == "processed" else REJECTED
            found.append(Picture(sample.filename, sample.content, sample.content_type, frozenset(outcomes)))
        elif kind == "f":
            photograph = taken[number // 6 % len(taken)]
            found.append(Picture(photograph.name, photograph.read_bytes(), "image/jpeg", ANY))
        else:
            file = hostile[number % len(hostile)]
            found.append(Picture(file.name, file.content, "image/jpeg", file.outcomes))
    chance.shuffle(found)  # every kind through every door
    return found


def painted(many: int, seed: int) -> list[Picture]:
    """Images that nothing is wrong with; the same of the same seed."""
    return [_painted(number, seed) for number in range(many)]


REJECTED = frozenset({"not_an_image", "truncated", "side_too_long", "unsupported_format"})
"""The reasons of the samples that are no good."""


def _painted(number: int, seed: int) -> Picture:
    name = list(FORMATS)[number // 2 % len(FORMATS)]
    place = seed * 100_000 + number
    tiles = Image.frombytes("RGB", (4, 3), random.Random(place).randbytes(36))  # noqa: S311  # no secret
    picture = Image.blend(landscape(320, 240, place), tiles.resize((320, 240), Image.Resampling.NEAREST), 0.6)
    content = io.BytesIO()
    picture.save(content, name)
    return Picture(f"{number}.{FORMATS[name]}", content.getvalue(), f"image/{FORMATS[name]}", frozenset({"processed"}))


def differs(picture: Picture, derivative: bytes) -> float:
    """How far a derivative is from its image, from 0, the same, to 255.

    Nothing can be said of an image with a side of a few pixels, or one that Pillow cannot read by itself.
    """
    original = _upright(picture.content)
    if original is None or min(original.size) < SMALLEST_SIDE:
        return 0.0
    with Image.open(io.BytesIO(derivative)) as made:
        one, other = _small(original), _small(made)
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _upright(content: bytes) -> Image.Image | None:
    """What Pillow sees in a file; hostile ones make it raise whatever there is."""
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Exception:  # noqa: BLE001
        return None
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001
        return image


def _small(image: Image.Image) -> bytes:
    """32 by 32 pixels of it, on white."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB").resize((32, 32)).tobytes()
