"""The deployed stack, somebody who may upload to it, one image, and a probe in the engine's place.

Whatever is made here is deleted again: a user, an image, a function.
"""

import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from local.samples import make_samples
from tests.aws.live import Live, Probe, eventually
from tests.aws.scripts import SCRIPTS
from tests.integration.lambda_process import SECRET

ENDED = ("processed", "rejected", "failed")
PROCESSING_SECONDS = 180


@pytest.fixture(scope="session")
def live() -> Live:
    stack = os.environ.get("STACK", "")
    if not stack:
        pytest.skip("no stack is named: make aws STACK=image-lake")
    session = boto3.Session()
    try:
        session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        pytest.skip(f"no credentials of AWS, or no region: {error}")
    return Live(session, stack)


@pytest.fixture(scope="session")
def deployed(live: Live) -> Live:
    """A stack on AWS itself."""
    if live.is_emulated:
        pytest.skip("AWS_ENDPOINT_URL is set: this needs Lambda's kernel, a network or another part of AWS itself")
    return live


@contextmanager
def member(live: Live, *groups: str) -> Iterator[dict[str, str]]:
    """The tokens of a user of these groups, who is there for a while."""
    cognito, pool = live.client("cognito-idp"), live.outputs["UserPoolId"]
    user = {"UserPoolId": pool, "Username": f"check-{secrets.token_hex(4)}"}
    password = f"Aa1{secrets.token_urlsafe(12)}"
    cognito.admin_create_user(**user, MessageAction="SUPPRESS")
    try:
        cognito.admin_set_user_password(**user, Password=password, Permanent=True)
        for group in groups:
            cognito.admin_add_user_to_group(**user, GroupName=group)
        signed_in = cognito.initiate_auth(
            ClientId=live.outputs["UserPoolClientId"],
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user["Username"], "PASSWORD": password},
        )
        yield signed_in["AuthenticationResult"]
    finally:
        cognito.admin_delete_user(**user)


@pytest.fixture(scope="session")
def tokens(live: Live) -> Iterator[dict[str, str]]:
    """Of a user who is there as long as the tests run."""
    with member(live, "uploaders") as found:
        yield found


@pytest.fixture(scope="session")
def access_token(tokens: dict[str, str]) -> str:
    return tokens["AccessToken"]


@pytest.fixture(scope="session")
def api(live: Live, tokens: dict[str, str]) -> Iterator[httpx.Client]:
    """The HTTP API, for that user."""
    with httpx.Client(base_url=live.api_url, headers={"Authorization": tokens["IdToken"]}, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def canary(api: httpx.Client) -> Iterator[dict[str, Any]]:
    """An image that came by the API, as it says once the workflow is through; erased at the end."""
    sample = next(one for one in make_samples() if one.filename == "hills.jpg")
    asked = {"content_type": sample.content_type, "content_length": len(sample.content)}
    grant = api.post("/uploads", json=asked).raise_for_status().json()
    form = grant["upload"]
    httpx.post(form["url"], data=form["fields"], files={"file": sample.content}, timeout=60).raise_for_status()
    path = f"/images/{grant['image_id']}"
    yield eventually(
        lambda: api.get(path).raise_for_status().json(), lambda image: image["status"] in ENDED, PROCESSING_SECONDS
    )
    api.delete(path)


def packed() -> bytes:
    """The probe, the scripts it runs and a file for these to find.

    Lambda wants files that everybody may read: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
    """
    files = {"probe.py": (Path(__file__).parent / "probe.py").read_text(encoding="utf-8"), "of-user": SECRET}
    files |= {f"{folder}/script.py": script for folder, script in SCRIPTS.items()}
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return package.getvalue()


@pytest.fixture(scope="session")
def probe(live: Live) -> Iterator[Probe]:
    functions, engine = live.client("lambda"), live.engine
    name = f"{live.stack}-probe-{secrets.token_hex(4)}"
    place = {key: engine["VpcConfig"][key] for key in ("SubnetIds", "SecurityGroupIds")} if live.is_in_network else {}
    functions.create_function(
        FunctionName=name,
        Runtime=engine["Runtime"],
        Architectures=engine["Architectures"],
        Role=engine["Role"],
        Handler="probe.handler",
        Code={"ZipFile": packed()},
        Layers=[layer["Arn"] for layer in engine["Layers"]],
        VpcConfig=place,
        Environment={"Variables": {"SECRET": SECRET, "POWERTOOLS_SERVICE_NAME": f"{live.stack}-probe"}},
        LoggingConfig={"LogGroup": engine["LoggingConfig"]["LogGroup"]},  # the one its role may write to
        MemorySize=engine["MemorySize"],
        Timeout=60,
    )

    def ask(what: str, **of: Any) -> Any:
        answer = functions.invoke(FunctionName=name, Payload=json.dumps({"ask": what, "of": of}))
        said = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, said
        return said["answer"]

    try:
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
        yield ask
    finally:
        functions.delete_function(FunctionName=name)
