"""One contestant in a process of its own: `python -m benchmarks.processing.worker <contestant> <repeats> <file>…`.

Prints a line of JSON a file: seconds of CPU and of wall time, the best of all repeats, and the peak memory so far.
"""

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from imagelake.engine import guard
from imagelake.engine.decoders.display import to_display
from imagelake.engine.limits import Limits
from imagelake.engine.runner import find_scripts, run_scripts
from imagelake.engine.sandbox.warm_process import _load as load_script
from imagelake.engine.scripts.job import Job
from imagelake.engine.scripts.result import Output

type Contestant = Callable[[bytes], None]

LIMITS = Limits(max_bytes=100_000_000)
DEFAULT_JOB = ("describe", "thumbnails")
DOWNLOAD_SECONDS = 0.1
"""Between images that are `paced`, as in a function, which gets and stores its images one by one."""


def engine() -> Contestant:
    """The engine, without its process."""
    scripts = [load_script(script.name, str(script.path), script.version) for script in find_scripts(DEFAULT_JOB)]
    file = os.memfd_create("output")

    def process(content: bytes) -> None:
        hashlib.sha256(content)
        Job(content, guard.inspect(content, LIMITS), scripts, {}, LIMITS, Output(file)).run()

    return process


def isolated() -> Contestant:
    """The engine as it is used, in a child process."""
    scripts = find_scripts(DEFAULT_JOB)

    def process(content: bytes) -> None:
        hashlib.sha256(content)
        run_scripts(content, scripts, {}, LIMITS, 60)

    return process


def idiom() -> Contestant:
    """Pillow as its documentation has it: turned at full size, then two thumbnails."""

    def process(content: bytes) -> None:
        hashlib.sha256(content)
        image = ImageOps.exif_transpose(Image.open(BytesIO(content)))
        for side in (1024, 256):
            thumbnail = image.copy()
            thumbnail.thumbnail((side, side))
            has_alpha = thumbnail.mode == "RGBA"
            thumbnail.save(BytesIO(), "WEBP" if has_alpha else "JPEG", quality=80)
        image.convert("L").resize((32, 32))
        image.resize((48, 48)).convert("RGB").quantize(6)

    return process


def floor() -> Contestant:
    """What no program on these libraries can leave out: the hash, the scaled decode, the two encodes."""

    def process(content: bytes) -> None:
        hashlib.sha256(content)
        image: Image.Image = Image.open(BytesIO(content))
        image.draft(None, (1024, 1024) if image.format == "JPEG" else None)
        image.load()
        image = image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")
        for side in (1024, 256):
            scale = min(1, side / max(image.size))
            size = round(image.width * scale), round(image.height * scale)
            thumbnail = image.resize(size, Image.Resampling.NEAREST)
            transparent = thumbnail.mode == "RGBA" and thumbnail.getchannel("A").getextrema()[0] != 255
            thumbnail = thumbnail if transparent else thumbnail.convert("RGB")
            thumbnail.save(BytesIO(), "WEBP" if transparent else "JPEG", quality=80, method=2)

    return process


def lanczos(content: bytes, side: int) -> Image.Image:
    """The reference for quality: every pixel decoded, turned, and Lanczos."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(content)))
    display = to_display(image)
    scale = min(1, side / max(display.size))
    return display.resize((round(display.width * scale), round(display.height * scale)), Image.Resampling.LANCZOS)


def main() -> None:
    """Measure."""
    Image.MAX_IMAGE_PIXELS = None
    contestant, repeats, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    process = {"engine": engine, "isolated": isolated, "paced": isolated, "idiom": idiom, "floor": floor}[contestant]()
    process(Path(files[0]).read_bytes())
    for file in files:
        content = Path(file).read_bytes()
        best_cpu = best_wall = float("inf")
        for _ in range(repeats):
            time.sleep(DOWNLOAD_SECONDS if contestant == "paced" else 0)
            wall, cpu = time.perf_counter(), time.process_time()
            process(content)
            best_wall = min(best_wall, time.perf_counter() - wall)
            best_cpu = min(best_cpu, time.process_time() - cpu)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(json.dumps({"file": file, "cpu": best_cpu, "wall": best_wall, "peak_mb": peak}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
