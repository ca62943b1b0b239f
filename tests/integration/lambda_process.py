"""A function's process under what Lambda's kernel refuses, and the Runtime API that gives it events."""

import base64
import json
import os
import queue
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import Any

from local.emulator import ROOT, lambda_like

SECRET = f"AKIDEXAMPLE{os.getpid():020}"
"""In the environment of the function when it starts; another one for each process that runs tests."""


class RuntimeApi(ThreadingHTTPServer):
    """What a runtime asks for events and sends answers to. Every event may be answered once.

    Whoever asks gets the event that waits for its answer, once more if need be, and the next one only then, as from
    https://github.com/aws/aws-lambda-runtime-interface-emulator/blob/main/lambda/core/states.go.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self.answers: dict[str, queue.Queue[tuple[str, dict[str, Any]]]] = {}
        self._current: tuple[str, dict[str, Any]] | None = None
        self._asking = threading.Lock()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The event to handle, and its number; waits until there is one."""
        with self._asking:
            self._current = self._current or self.events.get()
            return self._current

    def end(self, request_id: str) -> "queue.Queue[tuple[str, dict[str, Any]]] | None":
        """Where the answer to this event goes; None when it has one."""
        if self._current and self._current[0] == request_id:
            self._current = None
        return self.answers.pop(request_id, None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Connections end when the function starts again."""


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        request_id, event = self.server.next()
        self._answer(200, json.dumps(event).encode(), {"Lambda-Runtime-Aws-Request-Id": request_id})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = re.fullmatch(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)", self.path)
        answers = self.server.end(found[1]) if found else None
        if found and answers:
            answers.put((found[2], body))
        self._answer(202 if answers else 403, b"", {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class LambdaProcess:
    """A function whose events are scripts and images. `folder` is where scripts are put."""

    def __init__(self, api: RuntimeApi, process: "subprocess.Popen[bytes]", folder: Path, log: Path) -> None:
        self._api, self.process, self.folder, self._log = api, process, folder, log

    @property
    def api_address(self) -> tuple[str, int]:
        """Host and port of its Runtime API."""
        return ("127.0.0.1", self._api.server_port)

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text()

    def invoke(
        self, script: str, content: bytes, seconds: float = 10.0, params: Mapping[str, Any] = MappingProxyType({})
    ) -> dict[str, Any]:
        """What the function answers; an error of the function is under `errorType`."""
        file = self.folder / "script.py"
        file.write_text(dedent(script))
        request_id = str(uuid.uuid4())
        answers: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._api.answers[request_id] = answers
        event = {"script": str(file), "content": base64.b64encode(content).decode(), "seconds": seconds}
        event["params"] = dict(params)
        self._api.events.put((request_id, event))
        try:
            _, answer = answers.get(timeout=120)
        except queue.Empty:
            raise AssertionError(self.log()) from None
        return answer


@contextmanager
def lambda_process(folder: Path) -> Iterator[LambdaProcess]:
    """Start the function; `folder` is empty and readable for everybody."""
    api = RuntimeApi()
    threading.Thread(target=api.serve_forever, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "layers/imagelake", ROOT / "layers/scripts"))),
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "SECRET": SECRET,
    }
    program = [sys.executable, str(ROOT / "tests/integration/lambda_function.py")]
    log = folder / "log"
    with log.open("w") as output:
        command = lambda_like.command(program, see=[folder], strict=True)
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield LambdaProcess(api, process, folder, log)
    finally:
        process.kill()
        process.wait()
        api.shutdown()
        api.server_close()
