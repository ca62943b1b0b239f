"""How fast the local lake takes images, in what memory, and what it takes while it has nothing to do.

    python -m benchmarks.local_lake [--images 2000] [--senders 4] [--batch 20] [--idle 30] [--pictures FOLDER]

Starts a lake of its own and sends it real images through the upload API: by default those photographs of many cameras
in the sources of Debian's packages for EXIF that can be opened, again and again. Senders are processes of their own
that ask for forms `--batch` at a time. CPU time and memory are those of the emulator, its functions, the broker, and of
this process, which has the poller; senders are counted apart. Memory is PSS where the system has it, else RSS.
"""

import argparse
import mimetypes
import os
import re
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import batched, cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import httpx
import psutil
from PIL import Image

from local import lake as local_lake
from local.lake import Lake
from tests.integration import photographs

WAIT_SECONDS: Final = 900
LOOK_SECONDS: Final = 1
MOST_SECONDS: Final = 15
SETTLE_SECONDS: Final = 5
"""What came last is done with by then."""
_MEGABYTE: Final = 1e6


_PARTS: Final = {"hypercorn": "emulator", "noida": "broker"}
"""What in the command of a process says what it is a part of."""


@dataclass(frozen=True)
class Usage:
    """What the parts of a lake have taken so far: CPU seconds, bytes, and how many processes there are."""

    cpu_of: Mapping[str, float]
    memory_of: Mapping[str, int]
    processes: int

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return sum(self.cpu_of.values())

    @property
    def memory(self) -> int:
        """Bytes of all."""
        return sum(self.memory_of.values())


def main() -> None:
    """Send the images, wait until SQL has all, and print the figures as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_lake")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--batch", type=int, default=20, help="Forms that a sender asks for at once.")
    parser.add_argument("--idle", type=float, default=30, help="Seconds of doing nothing.")
    parser.add_argument("--pictures", type=Path, help="A folder of images to send instead.")
    options = parser.parse_args()
    files = list(islice(cycle(_pictures(options.pictures)), options.images))
    with local_lake.running(report=lambda step: print(step, flush=True)) as lake:
        _measure(lake, files, options.senders, options.batch, options.idle)


def _pictures(folder: Path | None) -> list[Path]:
    """Files that can be opened."""
    found = sorted(folder.rglob("*")) if folder else photographs.fetch()
    files = [file for file in found if file.is_file() and _opens(file)]
    if not files:
        raise SystemExit(f"no pictures in {folder}" if folder else "no photographs: this needs Debian's apt-get")
    return files


def _opens(file: Path) -> bool:
    with warnings.catch_warnings(action="ignore"), suppress(OSError, ValueError, SyntaxError), Image.open(file):
        return True
    return False


def _measure(lake: Lake, files: Sequence[Path], senders: int, batch: int, idle: float) -> None:
    warmed, _ = _send(lake, files[: 2 * senders], senders, 1)
    _await_rows(lake, warmed)
    half, usages = len(files) // 2, [_usage()]
    print(f"Sending {len(files)} images", flush=True)
    began = time.monotonic()
    _, first_seconds = _send(lake, files[:half], senders, batch)
    usages.append(_usage())
    _, other_seconds = _send(lake, files[half:], senders, batch)
    sent = time.monotonic() - began
    _await_rows(lake, warmed + len(files))
    took = time.monotonic() - began
    usages.append(_usage())
    time.sleep(SETTLE_SECONDS)
    before = _usage()
    time.sleep(idle)
    _print_figures(
        {
            "images; MB": f"{len(files)}; {sum(file.stat().st_size for file in files) / _MEGABYTE:.0f}",
            "senders; forms asked for at once": f"{senders}; {batch}",
            "seconds until all were sent; until SQL had all": f"{sent:.0f}; {took:.0f}",
            "images a second, from the first form to SQL": f"{len(files) / took:.1f}",
            "processes at start, in the middle, at the end": ", ".join(str(usage.processes) for usage in usages),
            f"idle for {idle:.0f} s, in per cent of a core": f"{100 * (_usage().cpu - before.cpu) / idle:.1f}",
            "CPU ms of the senders an image": _milliseconds(first_seconds + other_seconds, len(files)),
        }
        | _outcomes(lake)
    )
    _print_parts(usages, len(files))


def _print_figures(figures: Mapping[str, str]) -> None:
    print("\n| | |\n|---|---|")
    for name, figure in figures.items():
        print(f"| {name} | {figure} |")


def _print_parts(usages: Sequence[Usage], images: int) -> None:
    start, *_, end = usages
    print("\n| part | CPU ms an image | MB at start, in the middle, at the end |\n|---|---|---|")
    for part in sorted(end.cpu_of):
        cpu = _milliseconds(end.cpu_of[part] - start.cpu_of.get(part, 0), images)
        print(f"| {part} | {cpu} | {_megabytes(usage.memory_of.get(part, 0) for usage in usages)} |")
    cpu_seconds = end.cpu - start.cpu
    print(f"| all | {_milliseconds(cpu_seconds, images)} | {_megabytes(usage.memory for usage in usages)} |")
    print(f"\nTwo cores of its own would give it {2 * images / cpu_seconds:.1f} images a second.")


def _milliseconds(seconds: float, images: int) -> str:
    return f"{1000 * seconds / images:.0f}"


def _megabytes(sizes: Iterable[int]) -> str:
    return ", ".join(f"{size / _MEGABYTE:.0f}" for size in sizes)


def _send(lake: Lake, files: Sequence[Path], senders: int, batch: int) -> tuple[int, float]:
    """Have every sender send its share; the number of images, and the CPU seconds of all senders."""
    shares = [files[number::senders] for number in range(senders)]
    token = lake.sign_in()
    with ProcessPoolExecutor(senders, mp_context=get_context("spawn")) as pool:
        seconds = pool.map(_sender, [lake.api_url] * senders, [token] * senders, shares, [batch] * senders)
        return len(files), sum(seconds)


def _sender(api_url: str, token: str, files: Sequence[Path], batch: int) -> float:
    began = time.process_time()
    with httpx.Client(timeout=120) as client:
        for some in batched(files, batch, strict=False):
            kinds = [mimetypes.guess_type(file.name)[0] or "image/jpeg" for file in some]
            answer = client.post(
                f"{api_url}/uploads",
                headers={"Authorization": token},
                json={"uploads": [{"content_type": kind} for kind in kinds]},
            )
            for file, kind, granted in zip(some, kinds, answer.raise_for_status().json()["uploads"], strict=True):
                form = granted["upload"]
                content = {"file": ("file", file.read_bytes(), kind)}
                client.post(form["url"], data=form["fields"], files=content).raise_for_status()
    return time.process_time() - began


def _await_rows(lake: Lake, expected: int) -> None:
    """Look seldom while there is much to come: a look costs the lake as much as some images."""
    began = time.monotonic()
    while (count := lake.analysts.ask("SELECT count(DISTINCT image_id) FROM images").rows[0][0]) < expected:
        waited = time.monotonic() - began
        if waited > WAIT_SECONDS:
            raise SystemExit(f"{count} of {expected} images after {WAIT_SECONDS} s")
        time.sleep(min(MOST_SECONDS, max(LOOK_SECONDS, waited * (expected - count) / (2 * count + 1))))


def _outcomes(lake: Lake) -> dict[str, str]:
    """How many images ended how, and how long they took from arrival to commit."""
    ended = lake.analysts.ask("SELECT status, count(*) FROM images GROUP BY status ORDER BY status").rows
    rows = lake.analysts.ask("SELECT to_unixtime(processed_at) - to_unixtime(received_at) FROM images").rows
    seconds = sorted(float(row[0]) for row in rows)
    return {
        "outcomes": ", ".join(f"{count} {status}" for status, count in ended),
        "seconds from arrival to commit, median; 95 %": (
            f"{statistics.median(seconds):.1f}; {seconds[int(0.95 * len(seconds))]:.1f}"
        ),
    }


def _usage() -> Usage:
    """Of this process, which has the poller, and all that descend from it, ended ones included."""
    cpu, memory, processes = defaultdict[str, float](float), Counter[str](), 0
    myself = psutil.Process()
    for process in (myself, *myself.children(recursive=True)):
        with suppress(psutil.Error):
            part, times, taken = _part(process), process.cpu_times(), process.memory_full_info()
            ended = 0.0 if process == myself else times.children_user + times.children_system
            cpu[part] += times.user + times.system + ended
            memory[part] += getattr(taken, "pss", taken.rss)
            processes += 1
    return Usage(cpu, memory, processes)


def _part(process: psutil.Process) -> str:
    """The function that a process is of, or what else."""
    if process.pid == os.getpid():
        return "poller"
    command = " ".join(process.cmdline())
    if function := re.search(r"ministack-lambda-image-lake-(?:\w+-[\w-]{12}-)?(\w+?)Func", command):
        return function[1]
    mine = next((part for mark, part in _PARTS.items() if mark in command), None)
    return mine or _part(process.parent() or psutil.Process())


if __name__ == "__main__":
    main()
