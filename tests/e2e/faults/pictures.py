"""Images to send, each of bytes of its own, and what should become of each."""

import hashlib
import io
import random
from dataclasses import dataclass
from itertools import cycle, islice

from PIL import Image, ImageOps

from local.samples import landscape, make_samples
from tests.integration.hostile_corpus import corpus

FORMATS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "TIFF": "tiff", "BMP": "bmp", "GIF": "gif"}
HOSTILE = ("other", "cut", "polyglot", "metadata")
LARGEST_BYTES = 1_000_000
"""Of a hostile file: it goes through Kafka as well."""


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
    """Half of them painted, a sixth samples, a third hostile; the same of the same seed."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    hostile = [file for group in HOSTILE for file in corpus(group) if 0 < len(file.content) <= LARGEST_BYTES]
    chance.shuffle(hostile)
    samples = make_samples()
    kinds = cycle("psphph")
    found: list[Picture] = []
    for number, kind in enumerate(islice(kinds, many)):
        if kind == "p":
            found.append(_painted(number, seed))
        elif kind == "s":
            sample = samples[number // 6 % len(samples)]
            outcomes = {"processed"} if sample.status == "processed" else REJECTED
            found.append(Picture(sample.filename, sample.content, sample.content_type, frozenset(outcomes)))
        else:
            file = hostile[number % len(hostile)]
            found.append(Picture(file.name, file.content, "image/jpeg", file.outcomes))
    return found


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
    """How far a derivative is from its image, from 0, the same, to 255."""
    with Image.open(io.BytesIO(picture.content)) as original, Image.open(io.BytesIO(derivative)) as made:
        one, other = (_small(image) for image in (ImageOps.exif_transpose(original), made))
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _small(image: Image.Image) -> bytes:
    """32 by 32 pixels of it, on white."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB").resize((32, 32)).tobytes()
