"""What the engine without an identity costs an image: `python -m benchmarks.corridor_cost [--repeats 7] [--warm 30]`.

The three functions of the workflow against the one there was before, a handler that reads with boto3, runs the same
engine and stores with boto3. Both are built as `sam build` builds them and run under a Python that has what Lambda has;
AWS is a server on loopback that answers at once and counts what it is asked. Prints Markdown tables: requests of an
image, milliseconds of wall and CPU time cold and warm, and dollars for a million images.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Final, override

from benchmarks import cold_start
from local.deployment import host_architecture
from tests.application import TEMPLATE, resolve, variables

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
MEMORY_GB: Final = {"open": 0.5, "engine": 1769 / 1024, "close": 0.5, "before": 1769 / 1024}

_BEFORE = """
import hashlib, json, os
from aws_lambda_powertools import Logger
from imagelake import pipelines
from imagelake.engine import runner
from imagelake.keys import ImageVersion, RawKey
from imagelake.model import Arrival, Derivative, ImageRecord
from imagelake.stores.buckets import Bucket, s3_client
from imagelake.stores.images_table import serialize
from datetime import UTC, datetime, timedelta
logger = Logger()

def handler(event, context):
    runner.warm_up()
    key = RawKey.parse(event["key"])
    read = s3_client().get_object(Bucket=os.environ["RAW_BUCKET"], Key=event["key"], VersionId=event["version_id"])
    content = read["Body"].read()
    arrival = Arrival.from_metadata(read["Metadata"])
    scripts = runner.find_scripts(pipelines.load().default.scripts)
    result = runner.run_scripts(content, scripts, pipelines.load().default.params, pipelines.load().limits, 30)
    made = []
    for one in result.derivatives:
        target = ImageVersion(key, event["version_id"]).derived(one.name, one.extension)
        Bucket(os.environ["LAKE_BUCKET"]).store_once(target, one.content, one.content_type)
        made.append(Derivative(key=target, name=one.name, width=one.width, height=one.height,
                               content_type=one.content_type))
    now = datetime.now(UTC)
    record = ImageRecord(
        image_id=key.image_id, status="processed", received_at=now, expires_at=now + timedelta(days=7),
        processed_at=now, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content),
        content_type=read["ContentType"], script="a,b", script_version="a,b", ingest_date=key.hour.ingest_date,
        hour=key.hour.hour, script_output=json.dumps(result.script_output), derivatives=made,
        **arrival.model_dump(exclude={"sha256"}), **result.columns)
    answer = {"outcome": "processed", "item": serialize(record.to_item())}
    logger.info("image processed")
    return answer
"""

_DRIVER = """
import json, os, resource, statistics, sys, time
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
began = time.perf_counter()
{handler}
event = json.loads(os.environ["EVENT"])
answer = handler(event, Context())
print(json.dumps({{"cold": [(time.perf_counter() - began) * 1000, spent() * 1000], "answer": answer}}), file=sys.stderr)
walls, cpus = [], []
for _ in range(int(os.environ["WARM"])):
    time.sleep(0.15)  # as between invocations: the next child gets ready
    before, used = time.perf_counter(), spent()
    handler(event, Context())
    walls.append((time.perf_counter() - before) * 1000)
    cpus.append((spent() - used) * 1000)
if walls:
    print(json.dumps({{"warm": [statistics.median(walls), statistics.median(cpus)]}}), file=sys.stderr)
"""


class _Aws(cold_start._Aws):
    """S3 with one image, two derivatives and one version of everything, and a table without an item; counts."""

    asked: ClassVar[Counter[str]] = Counter()
    sizes: ClassVar[dict[str, int]] = {}
    version = ""
    key = ""

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
    def do_POST(self) -> None:
        is_table = "x-amz-target" in {name.lower() for name in self.headers}
        self.asked["DynamoDB read" if is_table else "PUT, POST, LIST"] += 1
        self._answer(b"{}", {"Content-Type": "application/x-amz-json-1.0"})


def _environment(endpoint: str) -> dict[str, str]:
    given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    for name in ("open_image", "process_image", "close_image"):
        given = given | variables(name)
    return {name: str(resolve(value)) for name, value in given.items()} | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "POWERTOOLS_TRACE_DISABLED": "true", "PATH": os.environ["PATH"],
    }  # fmt: skip


def _build(folder: Path) -> None:
    for target, source in {
        "DomainLayer": "layers/imagelake",
        "ScriptsLayer": "layers/scripts",
        "OpenImageFunction": "functions/open_image",
        "ProcessImageFunction": "functions/process_image",
        "CloseImageFunction": "functions/close_image",
    }.items():
        makefile = ROOT / "packaging" / host_architecture() / "Makefile"
        subprocess.run(
            ["make", "--makefile", makefile, f"build-{target}"],
            cwd=ROOT / source,
            env=os.environ | {"ARTIFACTS_DIR": str(folder / target)},
            check=True,
        )
    cold_start._compile(ROOT / ".venv-lambda")


def _run(handler: str, folders: list[Path], event: Any, environment: dict[str, str], warm: int) -> dict[str, Any]:
    """Cold and warm milliseconds, wall and CPU of the function's own process, and what the handler answered."""
    command = [str(ROOT / ".venv-lambda/bin/python"), "-P", "-c", cold_start._CONTEXT + _DRIVER.format(handler=handler)]
    done = subprocess.run(
        command,
        env=environment
        | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "EVENT": json.dumps(event),
            "WARM": str(warm),
        },
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    found: dict[str, Any] = {}
    for line in done.stderr.splitlines():
        if line.startswith(b"{"):
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


def _asked(before: Counter[str]) -> Counter[str]:
    return _Aws.asked - before


def main() -> None:
    """Measure, the variants taking turns, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corridor_cost")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm", type=int, default=30)
    options = parser.parse_args()
    sample = json.loads((ROOT / "events/open_image.json").read_text())
    _Aws.key, _Aws.version = sample["key"], sample["version_id"]
    times: dict[str, dict[str, list[list[float]]]] = {}
    asked: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, cold_start._aws(_Aws) as endpoint:
        built, environment = Path(folder), _environment(endpoint)
        _build(built)
        layers = [built / "DomainLayer/python", built / "ScriptsLayer/python"]
        ours = "from app import handler"
        for number in range(options.repeats + 1):
            warm = options.warm if number == options.repeats else 0
            answers: dict[str, Any] = {}
            for name, source, folders in (
                ("open", ours, [built / "OpenImageFunction", layers[0]]),
                ("engine", ours, [built / "ProcessImageFunction", *layers]),
                ("close", ours, [built / "CloseImageFunction", layers[0]]),
                ("before", _BEFORE, layers),
            ):
                event = _event(name, sample, answers)
                seen = Counter(_Aws.asked)
                found = _run(source, folders, event, environment, warm)
                answers[name] = found["answer"]
                if not warm:
                    asked[name] = _asked(seen)
                if name == "engine":
                    _Aws.sizes = {
                        f"{one['name']}.{one['extension']}": one["bytes"] for one in found["answer"]["derivatives"]
                    }
                for kind in ("cold", "warm"):
                    if kind in found and number:
                        times.setdefault(name, {}).setdefault(kind, []).append(found[kind])
            if "item" not in answers["close"] or answers["close"]["outcome"] != "processed":
                sys.exit(f"the new design did not process the image: {answers['close'].get('reason')}")
    _print(times, asked)


def _print(times: dict[str, dict[str, list[list[float]]]], asked: dict[str, Counter[str]]) -> None:
    write = sys.stdout.write
    new = ("open", "engine", "close")
    total = {"before": asked["before"], "now": sum((asked[name] for name in new), Counter[str]())}
    write("| an image | " + " | ".join(total) + " |\n|---|---|---|\n")
    for kind in list(PRICES)[:3]:
        write(f"| {kind} | " + " | ".join(str(one[kind]) for one in total.values()) + " |\n")
    write("\n| ms, wall (CPU) | cold start | warm |\n|---|---|---|\n")
    median = {
        name: {kind: [statistics.median(part) for part in zip(*runs, strict=True)] for kind, runs in kinds.items()}
        for name, kinds in times.items()
    }
    for name, kinds in median.items():
        cells = [f"{wall:.0f} ({cpu:.0f})" for wall, cpu in (kinds["cold"], kinds["warm"])]
        write(f"| {name} | " + " | ".join(cells) + " |\n")
    write("\n| dollars for a million images | before | now |\n|---|---|---|\n")
    parts: dict[str, list[float]] = {}
    for names, requests in ((("before",), total["before"]), (new, total["now"])):
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
