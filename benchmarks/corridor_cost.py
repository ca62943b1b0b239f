"""What the engine without an identity costs an image: `python -m benchmarks.corridor_cost [--repeats 7] [--warm 20]`.

The three functions of the workflow against the one function there was before them, which is taken from the history of
this repository (`--before`). Each is built as `sam build` builds it, with the packages of its own commit, and runs as
Lambda would run it (`local/emulator/lambda_like.py`), which takes root on Linux. AWS is a server on loopback that takes
`--wait` milliseconds for each answer and counts what it is asked. The two designs take turns, and which goes first
changes with each round. Prints Markdown tables: requests of an image, milliseconds of wall time and CPU time, cold and
warm, and dollars for a million images. CPU time is that of the function and all processes it has started.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, override

from benchmarks import cold_start
from local.deployment import host_architecture
from local.emulator import lambda_like
from tests.application import logical_id

ROOT = Path(__file__).parents[1]

PRICES: Final = {
    "PUT, POST, LIST": 5.00,
    "GET, HEAD": 0.40,
    "DynamoDB read": 0.125,
    "DynamoDB write": 0.625,
    "Lambda request": 0.20,
    "workflow": 1.00,
}
"""Dollars for a million, us-east-1, list prices of 2026: aws.amazon.com/s3/pricing (Standard), /dynamodb/pricing (on
demand: a consistent read of 4 KB, a write of 1 KB), /lambda/pricing, /step-functions/pricing (Express)."""
LAMBDA_SECOND: Final = 0.0000133334
"""Dollars for a GB and second on arm64."""
WORKFLOW_SECOND: Final = 0.00001667
"""Dollars for a GB and second of an Express workflow, which counts 64 MB at least."""
WORKFLOW_GB: Final = 0.0625
NOW: Final = {"open": "open_image", "engine": "process_image", "close": "close_image"}
MEMORY_GB: Final = {"open": 0.5, "engine": 1769 / 1024, "close": 0.5, "before": 1769 / 1024}

_DRIVER = """
import json, os, statistics, sys, time
from pathlib import Path
def spent():
    used, parents, ours = {}, {}, {os.getpid()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used[int(stat.parent.name)], parents[int(stat.parent.name)] = sum(map(int, fields[11:15])), int(fields[1])
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used[process] for process in ours) * 1000 / os.sysconf("SC_CLK_TCK")
from app import handler
event = json.loads(os.environ["EVENT"])
answer = handler(event, Context())
wall = (time.perf_counter() - float(os.environ["STARTED"])) * 1000
print(json.dumps({"cold": [wall, spent()], "answer": answer}), file=sys.stderr)
walls, before = [], spent()
for _ in range(int(os.environ["WARM"])):
    time.sleep(0.15)  # as between invocations: the next child gets ready
    started = time.perf_counter()
    handler(event, Context())
    walls.append((time.perf_counter() - started) * 1000)
if walls:
    time.sleep(0.15)
    warm = [statistics.median(walls), (spent() - before) / len(walls)]
    print(json.dumps({"warm": warm}), file=sys.stderr)
"""


class _Aws(cold_start._Aws):
    """S3 with one image, two derivatives and one version of everything, and a table without an item; counts."""

    asked: ClassVar[Counter[str]] = Counter()
    sizes: ClassVar[dict[str, int]] = {}
    version = ""
    key = ""
    seconds = 0.0

    @override
    def do_GET(self) -> None:
        if "versions" in self.path.partition("?")[2].split("&"):
            self.asked["PUT, POST, LIST"] += 1
            self._answer(
                f"<ListVersionsResult><Version><Key>{self.key}</Key><VersionId>{self.version}</VersionId>"
                "<LastModified>2026-11-22T09:30:15.000Z</LastModified><Size>1</Size></Version>"
                "</ListVersionsResult>".encode(),
                {"Content-Type": "application/xml"},
            )
            return
        self.asked["GET, HEAD"] += 1
        super().do_GET()

    def do_HEAD(self) -> None:  # noqa: N802  # the server's name for it
        self.asked["GET, HEAD"] += 1
        name = self.path.rpartition("/")[2].partition("?")[0]
        size = self.sizes.get(name, len(cold_start._Aws.image))
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(size))
        self.send_header("x-amz-meta-source", "api")
        self.send_header("Last-Modified", self.date_time_string())
        self.end_headers()

    @override
    def do_PUT(self) -> None:
        self.asked["PUT, POST, LIST"] += 1
        super().do_PUT()

    @override
    def send_response(self, code: int, message: str | None = None) -> None:
        time.sleep(self.seconds)
        super().send_response(code, message)

    @override
    def do_POST(self) -> None:
        is_table = "x-amz-target" in {name.lower() for name in self.headers}
        self.asked["DynamoDB read" if is_table else "PUT, POST, LIST"] += 1
        self._answer(b"{}", {"Content-Type": "application/x-amz-json-1.0"})


def _at(endpoint: str, given: dict[str, str]) -> dict[str, str]:
    """The environment of a function: what its template gives it, and where AWS is."""
    return given | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "POWERTOOLS_TRACE_DISABLED": "true", "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
    }  # fmt: skip


def _variables(checkout: Path, functions: Sequence[str]) -> dict[str, str]:
    """What the template of a checkout gives these functions."""
    code = """
import json
from tests.application import TEMPLATE, resolve, variables
given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
for name in %r:
    given = given | variables(name)
print(json.dumps({name: str(resolve(value)) for name, value in given.items()}))
"""
    said = subprocess.check_output([sys.executable, "-c", code % (tuple(functions),)], cwd=checkout)
    found: dict[str, str] = json.loads(said)
    return found


def _check_out(commit: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.check_output(["git", "archive", commit], cwd=ROOT)
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    return folder


def _build(checkout: Path, folder: Path, functions: Sequence[str]) -> list[Path]:
    """Build the layers and these functions; each gets a folder in `folder`. Returns the layers' packages."""
    targets = {"DomainLayer": "layers/imagelake", "ScriptsLayer": "layers/scripts"}
    targets |= {logical_id(name): f"functions/{name}" for name in functions}
    for target, source in targets.items():
        subprocess.run(
            ["make", "--makefile", checkout / "packaging" / host_architecture() / "Makefile", f"build-{target}"],
            cwd=checkout / source,
            env=os.environ | {"ARTIFACTS_DIR": str(folder / target)},
            check=True,
        )
    return [folder / "DomainLayer/python", folder / "ScriptsLayer/python"]


def _run(folders: list[Path], event: Any, environment: dict[str, str], warm: int) -> dict[str, Any]:
    """Cold and warm milliseconds, of wall and CPU, and what the handler answered."""
    python = str(ROOT / ".venv-lambda/bin/python")
    command = lambda_like.command(
        [python, "-P", "-c", cold_start._CONTEXT + _DRIVER], see=[ROOT, *folders], strict=True
    )
    done = subprocess.run(
        command,
        env=environment
        | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "EVENT": json.dumps(event),
            "WARM": str(warm),
            "STARTED": str(time.perf_counter()),
        },
        cwd=ROOT,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    found: dict[str, Any] = {}
    for line in done.stderr.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def _event(name: str, sample: Any, answers: dict[str, Any]) -> Any:
    """What a function is told: what the one before it has answered."""
    match name:
        case "engine":
            return answers["open"]["order"]
        case "close":
            return {"facts": answers["open"]["facts"], "answer": answers["engine"]}
        case _:
            return sample


def main() -> None:
    """Measure, the two designs taking turns, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corridor_cost")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm", type=int, default=20, help="Images of a process beyond its first.")
    parser.add_argument("--wait", type=float, default=15, help="Milliseconds that AWS takes to answer.")
    parser.add_argument("--before", default="2444052", help="The commit to compare with, the last with one function.")
    options = parser.parse_args()
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("only root on Linux can run a function as Lambda does")
    sample = json.loads((ROOT / "events/open_image.json").read_text())
    _Aws.key, _Aws.version, _Aws.seconds = sample["key"], sample["version_id"], options.wait / 1000
    times: dict[str, dict[str, list[list[float]]]] = {}
    asked: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name, cold_start._aws(_Aws) as endpoint:
        folder = Path(name)
        folder.chmod(0o755)
        old = _check_out(options.before, folder / "checkout")
        now = [folder / "now" / logical_id(function) for function in NOW.values()]
        layers = _build(ROOT, folder / "now", list(NOW.values()))
        old_layers = _build(old, folder / "before", ["process_image"])
        cold_start._compile(ROOT / ".venv-lambda")
        environment = _at(endpoint, _variables(ROOT, list(NOW.values())))
        old_environment = _at(endpoint, _variables(old, ["process_image"]))
        old_event = json.loads((old / "events/process_image.json").read_text())
        variants = {
            part: ([built, *(layers if part == "engine" else layers[:1])], environment)
            for part, built in zip(NOW, now, strict=True)
        } | {"before": ([folder / "before/ProcessImageFunction", *old_layers], old_environment)}
        for number in range(options.repeats + 1):
            answers: dict[str, Any] = {}
            for part in (*NOW, "before") if number % 2 else ("before", *NOW):
                folders, given = variants[part]
                seen = Counter(_Aws.asked)
                event = old_event if part == "before" else _event(part, sample, answers)
                found = _run(folders, event, given, options.warm if number else 0)
                answers[part] = found["answer"]
                if part == "engine":
                    _Aws.sizes = {
                        f"{one['name']}.{one['extension']}": one["bytes"] for one in found["answer"]["derivatives"]
                    }
                if number == 0:  # the first round is for the caches, and for counting
                    asked[part] = _Aws.asked - seen
                    continue
                for kind in ("cold", "warm"):
                    times.setdefault(part, {}).setdefault(kind, []).append(found[kind])
            for part in ("close", "before"):
                if answers[part].get("outcome") != "processed":
                    sys.exit(f"{part}: the image was not processed: {answers[part].get('reason')}")
    _print(times, asked)


def _together(parts: list[dict[str, list[list[float]]]]) -> dict[str, list[list[float]]]:
    """One after the other, round by round."""
    return {
        kind: [[sum(times) for times in zip(*one_round, strict=True)] for one_round in zip(*runs, strict=True)]
        for kind, runs in {kind: [part[kind] for part in parts] for kind in ("cold", "warm")}.items()
    }


def _print(times: dict[str, dict[str, list[list[float]]]], asked: dict[str, Counter[str]]) -> None:
    write = sys.stdout.write
    total = {"before": asked["before"], "now": sum((asked[name] for name in NOW), Counter[str]())}
    write("| an image | " + " | ".join(total) + " |\n|---|---|---|\n")
    for kind in list(PRICES)[:3]:
        write(f"| {kind} | " + " | ".join(str(one[kind]) for one in total.values()) + " |\n")
    write("\n| ms, wall (CPU) | cold start | warm |\n|---|---|---|\n")
    times = times | {"now": _together([times[name] for name in NOW])}
    median = {
        name: {kind: [statistics.median(part) for part in zip(*runs, strict=True)] for kind, runs in kinds.items()}
        for name, kinds in times.items()
    }
    for name, kinds in median.items():
        cells = [f"{wall:.0f} ({cpu:.0f})" for wall, cpu in (kinds["cold"], kinds["warm"])]
        write(f"| {name} | " + " | ".join(cells) + " |\n")
    write("\n| dollars for a million images | before | now |\n|---|---|---|\n")
    parts: dict[str, list[float]] = {}
    for names, requests in ((("before",), total["before"]), (tuple(NOW), total["now"])):
        seconds = {name: median[name]["warm"][0] / 1000 for name in names}
        for label, dollars in {
            "requests to S3": sum(requests[kind] * PRICES[kind] for kind in ("PUT, POST, LIST", "GET, HEAD")),
            "reads of the table": requests["DynamoDB read"] * PRICES["DynamoDB read"],
            "calls of functions": len(names) * PRICES["Lambda request"],
            "time of functions": sum(seconds[name] * MEMORY_GB[name] * LAMBDA_SECOND for name in names) * 1_000_000,
            "workflow": PRICES["workflow"] + sum(seconds.values()) * WORKFLOW_GB * WORKFLOW_SECOND * 1_000_000,
            "the item": 3 * PRICES["DynamoDB write"],
        }.items():
            parts.setdefault(label, []).append(dollars)
    for label, pair in parts.items():
        write(f"| {label} | " + " | ".join(f"{dollars:.2f}" for dollars in pair) + " |\n")
    write("| all | " + " | ".join(f"{sum(column):.2f}" for column in zip(*parts.values(), strict=True)) + " |\n")


if __name__ == "__main__":
    main()
