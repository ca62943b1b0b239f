"""The examples of rules: the queue as it deploys, and the webhook's rule with a receiver on this machine.

The emulator does not know the resource types of API destinations, so what the template of the webhook describes is made
by calls here, with the address of the receiver in place of one that its pattern allows. The signed webhook deploys.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jsonschema
import pytest

from local import deployment
from local.lake import Lake
from local.samples import Sample
from tests.application import ROOT, read
from tests.e2e.conftest import Upload, eventually
from tests.webhook_receiver import receiving
from tools.event_schemas import SCHEMAS

EXAMPLES = ROOT / "examples/events"
KEY = "k" * 32


def test_a_queue_of_a_sender_s_own_gets_their_outcomes_and_no_others(
    lake: Lake, samples: dict[str, Sample], upload: Upload
) -> None:
    cloudformation, sqs, name = lake.client("cloudformation"), lake.client("sqs"), f"own-{uuid.uuid4().hex[:8]}"
    urls = {}
    for source in ("api", "somebody-else"):
        stack, given = f"{name}-{source}", {"EventBusName": lake.stack.outputs["EventBusName"], "Source": source}
        cloudformation.create_stack(
            StackName=stack,
            TemplateBody=(EXAMPLES / "own_queue.yaml").read_text(encoding="utf-8"),
            Parameters=[{"ParameterKey": one, "ParameterValue": value} for one, value in given.items()],
        )
        cloudformation.get_waiter("stack_create_complete").wait(StackName=stack)
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        urls[source] = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}["QueueUrl"]

    image_id = upload(samples["icon.bmp"])

    def received(source: str) -> list[str]:
        found = sqs.receive_message(QueueUrl=urls[source], MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(message["Body"])["detail"]["image_id"] for message in found.get("Messages", [])]

    eventually(lambda: received("api"), lambda told: image_id in told)
    assert received("somebody-else") == []
    for source in urls:
        cloudformation.delete_stack(StackName=f"{name}-{source}")


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook that takes calls with the key, and refuses others; its address, and what it took."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.headers["X-Image-Lake-Key"] == KEY
            if is_known:
                taken.append(json.loads(body))
            self.send_response(204 if is_known else 403)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/images", taken
        finally:
            server.shutdown()


def test_a_webhook_is_called_with_each_outcome_and_the_key(
    lake: Lake, samples: dict[str, Sample], upload: Upload
) -> None:
    template = read(EXAMPLES / "webhook.yaml")
    rule, connection = (template["Resources"][name]["Properties"] for name in ("WebhookRule", "Connection"))
    header = connection["AuthParameters"]["ApiKeyAuthParameters"]["ApiKeyName"]
    events, name, bus = lake.client("events"), f"hook-{uuid.uuid4().hex[:8]}", lake.stack.outputs["EventBusName"]
    pattern = rule["EventPattern"] | {"detail": {"source": ["api"]}}
    [target] = rule["Targets"]
    with receiver() as (address, taken):
        key = {"ApiKeyAuthParameters": {"ApiKeyName": header, "ApiKeyValue": KEY}}
        made = events.create_connection(Name=name, AuthorizationType="API_KEY", AuthParameters=key)
        destination = events.create_api_destination(
            Name=name, ConnectionArn=made["ConnectionArn"], InvocationEndpoint=address, HttpMethod="POST"
        )
        events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
        called = {
            "Id": "webhook",
            "Arn": destination["ApiDestinationArn"],
            "RoleArn": "arn:aws:iam::000000000000:role/webhook",
            "InputTransformer": target["InputTransformer"],
        }
        events.put_targets(Rule=name, EventBusName=bus, Targets=[called])

        image_id = upload(samples["notes.jpg"])

        eventually(lambda: list(taken), lambda told: any(one["detail"]["image_id"] == image_id for one in told))
        events.remove_targets(Rule=name, EventBusName=bus, Ids=["webhook"])
        events.delete_rule(Name=name, EventBusName=bus)
    [told] = (one for one in taken if one["detail"]["image_id"] == image_id)
    assert told["type"] == "ImageRejected"
    jsonschema.validate(told["detail"], json.loads((SCHEMAS / "ImageRejected.json").read_text(encoding="utf-8")))


def test_a_signed_webhook_is_called_with_a_signature_that_a_library_verifies_and_again_after_a_refusal(
    lake: Lake, samples: dict[str, Sample], upload: Upload, tmp_path: Path
) -> None:
    """The example as it deploys, with the receiver of this machine on its list, trusted, and tries of 20 s."""
    name = f"signed-{uuid.uuid4().hex[:8]}"
    shutil.copytree(EXAMPLES / "signed_webhook", tmp_path / "signed_webhook")
    with receiving(tmp_path / "certificate.pem") as receiver:
        shutil.copy(tmp_path / "certificate.pem", tmp_path / "signed_webhook")
        with (tmp_path / "signed_webhook" / "app.py").open("a", encoding="utf-8") as function:
            function.write('os.environ["SSL_CERT_FILE"] = __file__.replace("app.py", "certificate.pem")\n')
        text = (EXAMPLES / "signed_webhook.yaml").read_text(encoding="utf-8")
        for old, new in {
            r"(hooks|events)\.example\.com": f"localhost:{receiver.port}",
            "VisibilityTimeout: 300": "VisibilityTimeout: 20",
        }.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "template.yaml").write_text(text, encoding="utf-8")
        given = {"EventBusName": lake.stack.outputs["EventBusName"], "Endpoint": receiver.address}
        stack = deployment.deploy(lake.emulator, tmp_path / "template.yaml", given, name)
        # The emulator's own key has punctuation, which is not base64.
        lake.client("secretsmanager").put_secret_value(
            SecretId=stack.outputs["SigningSecretArn"], SecretString="k" * 44
        )
        receiver.secret = f"whsec_{'k' * 44}"
        receiver.answers = [(503, {})]

        image_id = upload(samples["notes.jpg"])

        told = eventually(
            lambda: [one for _, one in receiver.taken],
            lambda told: any(one["detail"]["image_id"] == image_id for one in told),
        )
        lake.client("cloudformation").delete_stack(StackName=name)
    assert receiver.answers == [], "the first call was refused"
    assert receiver.refused == [], "every signature was good"
    [rejected] = (one for one in told if one["detail"]["image_id"] == image_id)
    assert rejected["type"] == "ImageRejected"
    jsonschema.validate(rejected["detail"], json.loads((SCHEMAS / "ImageRejected.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("template", ["webhook.yaml", "signed_webhook.yaml"])
def test_a_webhook_is_called_at_no_host_that_the_template_does_not_name(template: str) -> None:
    pattern = read(EXAMPLES / template)["Parameters"]["Endpoint"]["AllowedPattern"]

    assert re.match(pattern, "https://hooks.example.com/images/of-us")
    for address in (
        *("http://hooks.example.com/", "https://hooks.example.com.evil.net/", "https://hooks.example.com@evil.net/"),
        *(
            "https://evil.net/hooks.example.com",
            "https://hooks.example.com:8443/",
            "https://hooks.example.com/?to=evil",
        ),
    ):
        assert not re.match(pattern, address), address
