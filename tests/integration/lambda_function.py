"""A function as Lambda runs it, for `tests.integration.lambda_process`: events come from a Runtime API.

It does what `process_image` does for the sandbox, and nothing else: no store, no workflow.
"""

# ruff: noqa: E402  # as in functions/process_image/app.py
from imagelake.engine import environment

environment.begin()

import base64
import http.client
import json
import os
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagelake.engine import runner
from imagelake.engine.runner import Limits, RunRejection, Script

LIFE = os.urandom(8).hex()
"""Another one when the process has started again."""
SECRET_IN_MEMORY = os.environ["SECRET"] + " in memory"


@dataclass(frozen=True)
class Context:
    aws_request_id: str


@environment.gives_up
def handler(event: dict[str, Any], _: Context) -> dict[str, Any]:
    """Run the script at the path `script` on the image in `content`."""
    limits = replace(Limits(), formats=(*Limits().formats, "HEIF"))
    script = Script.from_file(Path(event["script"]))
    about = {"life": LIFE, "process": os.getpid(), "measures": {str(m): h for m, h in runner.measures().items()}}
    try:
        params = {script.name: event["params"]}
        result = runner.run_scripts(base64.b64decode(event["content"]), [script], params, limits, event["seconds"])
    except RunRejection as rejection:
        return about | {"reason": str(rejection)}
    derivatives = [
        [made.name, made.extension, made.width, made.height, len(made.content)] for made in result.derivatives
    ]
    output = result.script_output.get(script.name, {})
    return about | {"reason": None, "output": output, "columns": result.columns, "derivatives": derivatives}


def main() -> None:
    """Serve events for ever, as the runtime does."""
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        api.request("GET", "/2018-06-01/runtime/invocation/next")
        response = api.getresponse()
        event, request_id = json.loads(response.read()), response.headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            kind, answer = "response", handler(event, Context(request_id))
        except Exception as error:  # noqa: BLE001  # as the runtime does
            traceback.print_exc()
            kind, answer = "error", {"errorType": type(error).__name__, "errorMessage": str(error)}
        api.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/{kind}", json.dumps(answer))
        api.getresponse().read()


if __name__ == "__main__":
    main()
