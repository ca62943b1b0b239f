"""Fresh process to first response: `python -m benchmarks.cold_start [--repeats 7]`.

The functions, built as `sam build` builds them, against the handler people usually write: boto3 for S3 and DynamoDB,
Powertools' Logger, Metrics and Tracer, Pydantic and Pillow, all imported at the top, from packages compiled in the
same way, and not at all. All run under a Python that has what Lambda has, where Python's library and boto3 are
compiled. AWS is a server on loopback that answers at once. Prints a Markdown table.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import Image

from local.deployment import host_architecture
from tests.application import TEMPLATE, resolve, variables

ROOT = Path(__file__).parents[1]

_CONTEXT = """
class Context:
    function_name = function_version = "cold"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:cold"
    aws_request_id = "cold"
    def get_remaining_time_in_millis(self): return 45_000
"""

_END = """
import os
os._exit(0)
"""

_OURS = """
import json, os
from pathlib import Path
from app import handler
event = Path("events/{name}.json").read_text().replace("https://s3.amazonaws.com", os.environ["AWS_ENDPOINT_URL"])
event = json.loads(event)
if "bytes" in event:
    event["bytes"] = int(os.environ["IMAGE_BYTES"])
answer = handler(event, Context())
assert answer.get("status") == "processed" or answer.get("statusCode") == 201, answer
"""

_USUAL_HEAD = """
import io, json, os, uuid
import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from PIL import Image, ImageOps
from pydantic import BaseModel
logger, tracer, metrics = Logger(service="cold"), Tracer(service="cold"), Metrics(namespace="cold", service="cold")
s3, table = boto3.client("s3"), boto3.resource("dynamodb").Table("images")
"""

_USUAL = {
    "process_image": _USUAL_HEAD
    + """
class Event(BaseModel):
    bucket: str
    key: str
@logger.inject_lambda_context
@tracer.capture_lambda_handler
def handler(event, context):
    event = Event.model_validate(event)
    content = s3.get_object(Bucket=event.bucket, Key=event.key)["Body"].read()
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    for side in (1024, 256):
        thumbnail, file = image.copy(), io.BytesIO()
        thumbnail.thumbnail((side, side))
        thumbnail.save(file, "JPEG")
        s3.put_object(Bucket=event.bucket, Key=f"{side}.jpg", Body=file.getvalue())
    return {"outcome": "processed"}
handler({"bucket": "b", "key": "k"}, Context())
""",
    "http_api": _USUAL_HEAD
    + """
class Upload(BaseModel):
    content_type: str
@logger.inject_lambda_context
@tracer.capture_lambda_handler
def handler(event, context):
    upload = Upload.model_validate(json.loads(event["body"]))
    form = s3.generate_presigned_post("b", str(uuid.uuid4()), Conditions=[{"Content-Type": upload.content_type}])
    table.put_item(Item={"image_id": str(uuid.uuid4())})
    return {"statusCode": 201, "body": json.dumps(form)}
handler({"body": '{"content_type": "image/jpeg"}'}, Context())
""",
}


class _Aws(BaseHTTPRequestHandler):
    """S3 with one image under every key, and a DynamoDB that agrees to everything."""

    protocol_version = "HTTP/1.1"
    image = b""

    def do_GET(self) -> None:
        self._answer(self.image, {"Content-Type": "image/jpeg", "x-amz-meta-source": "api"})

    def do_PUT(self) -> None:
        self._answer(b"", {"ETag": '"0"'})

    def do_POST(self) -> None:
        self._answer(b'{"UnprocessedItems": {}}', {"Content-Type": "application/x-amz-json-1.0"})

    def _answer(self, body: bytes, headers: dict[str, str]) -> None:
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        for name, value in {
            **headers,
            "Content-Length": str(len(body)),
            "Last-Modified": self.date_time_string(),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _aws(handler: type[_Aws] = _Aws) -> Iterator[str]:
    file = BytesIO()
    Image.effect_noise((1600, 1200), 40).convert("RGB").save(file, "JPEG", quality=80)
    _Aws.image = file.getvalue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _environment(endpoint: str) -> dict[str, str]:
    """What the template gives the two functions, and where AWS is."""
    given = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    for name in ("process_image", "http_api"):
        given = given | variables(name)
    return {name: str(resolve(value)) for name, value in given.items()} | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "POWERTOOLS_TRACE_DISABLED": "true", "PATH": os.environ["PATH"],
        "IMAGE_BYTES": str(len(_Aws.image)),
    }  # fmt: skip


def _build(folder: Path) -> None:
    """Functions, layers and the usual handler's tracer, with their bytecode, each in a folder of its own."""
    for target, source in {
        "DomainLayer": "layers/imagelake",
        "ScriptsLayer": "layers/scripts",
        "ProcessImageFunction": "functions/process_image",
        "HttpApiFunction": "functions/http_api",
    }.items():
        makefile = ROOT / "packaging" / host_architecture() / "Makefile"
        subprocess.run(
            ["make", "--makefile", makefile, f"build-{target}"],
            cwd=ROOT / source,
            env=os.environ | {"ARTIFACTS_DIR": str(folder / target)},
            check=True,
        )
    for package in ("aws_xray_sdk", "wrapt"):
        (installed,) = find_spec(package).submodule_search_locations  # type: ignore[union-attr,misc]  # it is installed
        shutil.copytree(installed, folder / "Tracer" / package, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(folder / "Tracer", "--invalidation-mode", "unchecked-hash")
    _compile(ROOT / ".venv-lambda")


def _compile(folder: Path, *options: str) -> None:
    subprocess.run([sys.executable, "-m", "compileall", "-q", *options, str(folder)], check=True)


def _start(source: str, environment: dict[str, str], packages: Path, folders: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of wall time and of CPU time, the warm process apart, of a process that runs `source` and ends."""
    path = os.pathsep.join(str(packages / folder) for folder in folders)
    command = [str(ROOT / ".venv-lambda" / "bin" / "python"), "-P", "-c", _CONTEXT + source + _END]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command,
        env=environment | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall * 1000, (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def main() -> None:
    """Measure, the variants taking turns, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    head = (
        "function",
        "ours",
        "ours uncompiled",
        "usual",
        "usual uncompiled",
        "ours / usual",
        "ours / uncompiled usual",
    )
    with tempfile.TemporaryDirectory() as folder, _aws() as endpoint:
        compiled, uncompiled = Path(folder, "compiled"), Path(folder, "uncompiled")
        _build(compiled)
        shutil.copytree(compiled, uncompiled, ignore=shutil.ignore_patterns("__pycache__"))
        sys.stdout.write("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|\n")
        environment = _environment(endpoint)
        layers = ("DomainLayer/python", "ScriptsLayer/python")
        for name, function in (("process_image", "ProcessImageFunction"), ("http_api", "HttpApiFunction")):
            variants = [
                (source, packages, folders)
                for source, folders in (
                    (_OURS.format(name=name), (function, *layers)),
                    (_USUAL[name], (*layers, "Tracer")),
                )
                for packages in (compiled, uncompiled)
            ]
            times = [
                [_start(source, environment, packages, folders) for source, packages, folders in variants]
                for _ in range(repeats + 1)
            ]
            medians = [
                [statistics.median(kind) for kind in zip(*runs, strict=True)] for runs in zip(*times[1:], strict=True)
            ]
            cells = [f"{wall:.0f} ({cpu:.0f})" for wall, cpu in medians]
            (wall, cpu), _, *usual = medians
            ratios = [f"{wall / usual_wall:.2f} ({cpu / usual_cpu:.2f})" for usual_wall, usual_cpu in usual]
            sys.stdout.write("| " + " | ".join((name, *cells, *ratios)) + " |\n")


if __name__ == "__main__":
    main()
