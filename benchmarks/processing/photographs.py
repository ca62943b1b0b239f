"""Real pictures, from Debian's packages of wallpapers, by class of format and size."""

import subprocess
from collections import defaultdict
from pathlib import Path

from PIL import Image

PACKAGES = ("plasma-workspace-wallpapers", "mate-backgrounds", "gnome-backgrounds", "lomiri-wallpapers")
_SIZES = (("2 MP", 1e6, 4e6), ("8 MP", 4e6, 10e6), ("15 MP", 10e6, 30e6))


def fetch(folder: Path) -> None:
    """Download and unpack the packages into `folder`, unless that has happened."""
    if folder.exists():
        return
    unpacked = folder.with_suffix(".part")
    unpacked.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=unpacked, check=True, stdout=subprocess.DEVNULL)
    for package in unpacked.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
        package.unlink()
    _recompress(unpacked)
    unpacked.rename(folder)


def _recompress(folder: Path) -> None:
    """The largest photographs come as WebP only; cameras write baseline JPEG."""
    for file in sorted(folder.rglob("*.webp")):
        with Image.open(file) as image:
            if image.width * image.height > 10e6:
                image.convert("RGB").save(file.with_suffix(".recompressed.jpg"), quality=92)


def classify(folder: Path, per_class: int) -> dict[str, list[Path]]:
    """At most `per_class` files of each class, spread over their sizes in bytes."""
    classes = defaultdict(list)
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.suffix in (".jpg", ".png", ".webp"):
            classes[_name(file)].append(file)
    classes.pop("", None)
    return {name: _spread(files, per_class) for name, files in sorted(classes.items())}


def _name(file: Path) -> str:
    with Image.open(file) as image:
        kind = f"{image.format} progressive" if image.info.get("progressive") else str(image.format)
        pixels = image.width * image.height
    return next((f"{kind} {size}" for size, low, high in _SIZES if low <= pixels < high), "")


def _spread(files: list[Path], count: int) -> list[Path]:
    files = sorted(files, key=lambda file: (file.stat().st_size, file.name))
    step = max(1.0, len(files) / count)
    return [files[int(number * step)] for number in range(min(count, len(files)))]
