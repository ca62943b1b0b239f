"""What a function in the engine's place finds there.

It runs on Lambda: `conftest.py` makes a function of this file, with the role, network and layers of `process_image`,
and deletes it at the end. As there, its process is hidden, and given up after a script misbehaved.
"""

# ruff: noqa: E402  # as in functions/process_image/app.py
from imagelake.engine import environment

environment.begin()

import base64
import ctypes
import importlib
import os
import platform
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 3.0
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 4, 38, 36


@environment.gives_up
def handler(event: dict[str, Any], _context: environment.Context) -> dict[str, Any]:
    """Give the answer of the function that `event` names."""
    return {"answer": ANSWERS[event["ask"]](**event["of"])}


def connect(host: str, port: int) -> str:
    """`connected`, or the kind of error."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            return "connected"
    except OSError as error:
        return type(error).__name__


def resolve(name: str) -> bool:
    """Whether a name server answers with an address."""
    try:
        return bool(socket.getaddrinfo(name, 443))
    except socket.gaierror:
        return False


def get(url: str) -> int | str:
    """The status of an HTTP request, or the kind of error."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:  # noqa: S310  # the test's own URLs
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__


def read_object(bucket: str, key: str) -> str:
    """What S3 says to the function's own credentials: `read`, or the code of an error."""
    import boto3  # Lambda has it; nothing else here needs it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(connect_timeout=SECONDS, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    try:
        boto3.client("s3", config=config).get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except BotoCoreError as error:
        return type(error).__name__
    return "read"


def kernel() -> dict[str, Any]:
    """What the kernel is, and what it lets an ordinary process give up; 0 is done, 1 is EPERM."""
    libc = ctypes.CDLL(None, use_errno=True)

    def refused(option: int, value: int) -> int:
        return ctypes.get_errno() if libc.prctl(option, value, 0, 0, 0) else 0

    return {
        "release": platform.release(),
        "user": os.geteuid(),
        "shared_memory": Path("/dev/shm").is_dir(),  # noqa: S108  # whether there is one
        "code_writable": os.access("/var/task", os.W_OK),
        "hide": refused(_PR_SET_DUMPABLE, 0),
        "no_new_privileges": refused(_PR_SET_NO_NEW_PRIVS, 1),
        "subreaper": refused(_PR_SET_CHILD_SUBREAPER, 1),
    }


def measures() -> dict[str, bool]:
    """Which measures confine a provided script, as the engine itself reports."""
    runner = importlib.import_module("imagelake.engine.runner")  # of the layer that is deployed
    return {str(measure): held for measure, held in runner.measures().items()}


def places() -> dict[str, str]:
    """Where the code is, and where the Runtime API answers; empty where there is none."""
    return {"code": os.environ["LAMBDA_TASK_ROOT"], "api": os.environ.get("AWS_LAMBDA_RUNTIME_API", "")}


def run_script(folder: str, image: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the `script.py` in a folder beside this file says of an image, in base64; empty where it is rejected."""
    runner, errors = importlib.import_module("imagelake.engine.runner"), importlib.import_module("imagelake.errors")
    script = runner.Script.from_file(Path(__file__).parent / folder / "script.py")
    try:
        result = runner.run_scripts(base64.b64decode(image), [script], {script.name: params}, runner.Limits(), 10.0)
    except errors.Rejection:
        return {}
    said: dict[str, Any] = result.script_output.get(script.name, {})
    return said


ANSWERS: dict[str, Callable[..., Any]] = {
    one.__name__: one for one in (connect, resolve, get, read_object, kernel, measures, places, run_script)
}
