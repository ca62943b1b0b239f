"""Fresh process to first response: `python -m benchmarks.cold_start [--repeats 7]`.

The functions against the handler people usually write: boto3 for S3 and DynamoDB, Powertools' Logger, Metrics and
Tracer, Pydantic and Pillow, all imported at the top. AWS is a server on loopback that answers at once. Prints a
Markdown table.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]

_CONTEXT = """
class Context:
    function_name = function_version = "cold"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:cold"
    aws_request_id = "cold"
    def get_remaining_time_in_millis(self): return 45_000
"""

_OURS = """
import json, sys
from pathlib import Path
from functions.{name}.app import handler
answer = handler(json.loads(Path("events/{name}.json").read_text()), Context())
assert answer.get("outcome") == "processed" or answer.get("statusCode") == 201, answer
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
    "request_upload": _USUAL_HEAD
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
def _aws() -> Iterator[str]:
    file = BytesIO()
    Image.effect_noise((1600, 1200), 40).convert("RGB").save(file, "JPEG", quality=80)
    _Aws.image = file.getvalue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aws)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _environment(endpoint: str) -> dict[str, str]:
    """What the template gives the two functions, so far as it is not a reference."""
    defaults = dict(
        re.findall(r"^  (\w+):\n(?:    .*\n)*?    Default: (.*)\n", (ROOT / "template.yaml").read_text(), re.MULTILINE)
    )
    variables = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper(): value.strip("\"'") for name, value in defaults.items()}
    return variables | {
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "POWERTOOLS_TRACE_DISABLED": "true", "PATH": os.environ["PATH"],
        "RAW_BUCKET": "raw", "LAKE_BUCKET": "lake", "IMAGES_TABLE": "images",
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "layers/imagelake", "layers/scripts")),
    }  # fmt: skip


def _start(source: str, environment: dict[str, str], compiled: bool) -> float:
    """Seconds of wall time of a process that runs `source`."""
    with tempfile.TemporaryDirectory() as empty:
        fresh = {} if compiled else {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        started = time.perf_counter()
        command = [sys.executable, "-c", _CONTEXT + source]
        subprocess.run(command, env=environment | fresh, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Measure, the variants taking turns, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    head = ("function", "ours, ms", "ours uncompiled", "usual", "usual uncompiled", "ours / usual")
    sys.stdout.write("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|\n")
    with _aws() as endpoint:
        environment = _environment(endpoint)
        for name in ("process_image", "request_upload"):
            variants = [
                (source, compiled) for source in (_OURS.format(name=name), _USUAL[name]) for compiled in (True, False)
            ]
            for source, compiled in variants:
                _start(source, environment, compiled)
            times = [[_start(source, environment, compiled) for source, compiled in variants] for _ in range(repeats)]
            medians = [statistics.median(column) * 1000 for column in zip(*times, strict=True)]
            cells = " | ".join(f"{median:.0f}" for median in medians)
            sys.stdout.write(f"| {name} | {cells} | {medians[0] / medians[2]:.2f} |\n")


if __name__ == "__main__":
    main()
