"""Measure the default job: `python -m benchmarks.processing [--repeats 5] [--per-class 6] [--folder .local/benchmark]`.

Needs Debian's package tools for the pictures and npm for sharp; both are downloaded into the folder once. Prints
Markdown tables. All contestants see the same files in the same run, pinned to one core, the best of all repeats counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.processing import photographs
from benchmarks.processing.similarity import ssim
from benchmarks.processing.worker import DEFAULT_JOB, LIMITS, lanczos
from imagelake.engine.decoders.opened_image import Decoding
from imagelake.engine.guard import inspect
from imagelake.engine.runner import find_scripts, run_scripts
from imagelake.engine.sandbox.sandbox import MALLOC

CONTESTANTS = ("engine", "best", "usual", "idiom", "floor")
_HERE = Path(__file__).parent

type Figures = dict[str, dict[str, dict[str, float]]]
"""By contestant, file and measure: `cpu` and `wall` in seconds, `peak_mb`."""


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--per-class", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path(".local/benchmark"))
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    photographs.fetch(options.folder / "photographs")
    _install_sharp(options.folder / "sharp")
    classes = photographs.classify(options.folder / "photographs", options.per_class)
    figures = _measure(classes, options.repeats, options.folder)
    _print_times(classes, figures)
    _print_quality(classes, options.folder)
    _print_memory(classes, options.folder)
    _print_isolation(classes, options.repeats)
    _print_throughput(classes)


def _install_sharp(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "sharp_worker.mjs"):
        shutil.copy(_HERE / file, folder)
    if not (folder / "node_modules").exists():
        subprocess.run(["npm", "install", "--silent"], cwd=folder, check=True)


def _command(contestant: str, folder: Path) -> list[str]:
    if contestant in ("best", "usual", "pictures"):
        return ["node", str(folder / "sharp/sharp_worker.mjs"), contestant]
    return [sys.executable, "-m", "benchmarks.processing.worker", contestant]


def _run(contestant: str, repeats: int, files: Iterable[Path], folder: Path) -> dict[str, dict[str, float]]:
    command = ["taskset", "--cpu-list", "0", *_command(contestant, folder), str(repeats), *map(str, files)]
    environment = os.environ | (MALLOC if contestant == "engine" else {})
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()
    return {line.pop("file"): line for line in map(json.loads, lines)}


def _measure(classes: dict[str, list[Path]], repeats: int, folder: Path) -> Figures:
    """Class by class, so that what else the machine does falls on all contestants alike."""
    figures: Figures = {contestant: {} for contestant in CONTESTANTS}
    for files in classes.values():
        for contestant in CONTESTANTS:
            figures[contestant] |= _run(contestant, repeats, files, folder)
    return figures


def _print_table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    cells = [list(head), *map(list, rows)]
    sys.stdout.write(f"\n{title}\n\n")
    for number, row in enumerate(cells):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        if not number:
            sys.stdout.write("|---" * len(row) + "|\n")


def _print_times(classes: dict[str, list[Path]], figures: Figures) -> None:
    def row(name: str, files: list[Path]) -> list[str]:
        def mean(contestant: str, measure: str = "cpu") -> str:
            return f"{statistics.mean(figures[contestant][str(file)][measure] for file in files) * 1000:.0f}"

        def ratio(other: str, measure: str = "cpu") -> str:
            ratios = [figures["engine"][str(file)][measure] / figures[other][str(file)][measure] for file in files]
            return f"{statistics.geometric_mean(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"

        return [
            name,
            str(len(files)),
            *map(mean, CONTESTANTS),
            *map(ratio, ("best", "usual", "floor")),
            ratio("best", "wall"),
        ]

    head = ["class", "files", "engine", "sharp best", "sharp usual", "Pillow idiom", "floor",
            "engine / best", "engine / usual", "engine / floor", "engine / best, wall"]  # fmt: skip
    _print_table(
        "CPU ms an image, one core; ratios are geometric means (and ranges)",
        head,
        (row(*item) for item in classes.items()),
    )


def _print_quality(classes: dict[str, list[Path]], folder: Path) -> None:
    def engine(file: Path) -> Image.Image:
        content = file.read_bytes()
        return Decoding(content, inspect(content, LIMITS), [1024]).view(1024)

    def sharp(file: Path) -> Image.Image:
        target = folder / "pictures"
        target.mkdir(exist_ok=True)
        subprocess.run([*_command("pictures", folder), str(target), str(file)], check=True)
        with Image.open(target / "0.png") as picture:
            return picture.copy()

    def similarities(files: list[Path], make: Callable[[Path], Image.Image]) -> str:
        found = []
        for file in files:
            picture, reference = make(file), lanczos(file.read_bytes(), 1024)
            if "A" not in reference.mode and picture.size == reference.size:
                found.append(ssim(picture, reference))
        return f"{statistics.median(found):.4f}, {min(found):.4f}" if found else "-"

    rows = ([name, similarities(files, engine), similarities(files, sharp)] for name, files in classes.items())
    _print_table("SSIM against full decoding and Lanczos, 1024 px: median, minimum", ["class", "engine", "sharp"], rows)


def _print_memory(classes: dict[str, list[Path]], folder: Path) -> None:
    scripts = find_scripts(DEFAULT_JOB)

    def row(name: str, files: list[Path]) -> list[str]:
        ours = [run_scripts(file.read_bytes(), scripts, {}, LIMITS, 60).peak_memory_mb for file in files]
        theirs = [_run("best", 1, [file], folder)[str(file)]["peak_mb"] for file in files]
        ratio = statistics.geometric_mean(a / b for a, b in zip(ours, theirs, strict=True))
        return [name, f"{max(ours):.0f}", f"{max(theirs):.0f}", f"{ratio:.2f}"]

    head = ["class", "engine", "sharp best", "engine / sharp"]
    _print_table(
        "Peak memory, MiB, of a process that has seen one image: largest",
        head,
        (row(*item) for item in classes.items()),
    )


def _print_isolation(classes: dict[str, list[Path]], repeats: int) -> None:
    files = [files[0] for files in classes.values()]
    folder = Path()
    within = _run("engine", repeats, files, folder)
    for contestant, when in (("paced", "when there is time between images"), ("isolated", "when there is none")):
        isolated = _run(contestant, repeats, files, folder)
        costs = {
            name: isolated[str(file)]["wall"] - within[str(file)]["wall"]
            for name, file in zip(classes, files, strict=True)
        }
        each = ", ".join(f"{name} {cost * 1000:.1f}" for name, cost in costs.items())
        median = statistics.median(costs.values()) * 1000
        sys.stdout.write(f"\nIsolation costs {median:.1f} ms an image {when} (median; {each}).\n")


def _print_throughput(classes: dict[str, list[Path]]) -> None:
    contents = [file.read_bytes() for name, files in classes.items() for file in files[:3] if name.startswith("JPEG")]
    scripts = find_scripts(DEFAULT_JOB)

    def rate(jobs: int) -> float:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda content: run_scripts(content, scripts, {}, LIMITS, 60), contents[:jobs]))
            started = time.perf_counter()
            list(pool.map(lambda content: run_scripts(content, scripts, {}, LIMITS, 60), contents * 3))
            return len(contents) * 3 / (time.perf_counter() - started)

    one, two = rate(1), rate(2)
    sys.stdout.write(
        f"JPEG throughput: {one:.1f} images a second with one process, {two:.1f} with two: {two / one:.2f} x.\n"
    )
    sys.stdout.write(f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.\n")


if __name__ == "__main__":
    main()
