"""The example of a signed webhook: real requests to a receiver on this machine, which verifies them with a library."""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from examples.events.signed_webhook import app
from tests.application import ROOT, read
from tests.webhook_receiver import Receiver, receiving

NEW, OLD = "n" * 44, "o" * 44
BODY = '{"type": "ImageRejected", "detail": {"id": "9f0f4e2b-58c4-5b7e-9a37-0d3c1de2a0a5", "reason_code": "ä"}}'
EVENT = {"Records": [{"messageId": "1", "body": BODY}]}
TEMPLATE = read(ROOT / "examples/events/signed_webhook.yaml")
FUNCTION = TEMPLATE["Resources"]["PostOutcomeFunction"]["Properties"]


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Trusted by this process, and named to the function."""
    with receiving(tmp_path / "certificate.pem") as made:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        monkeypatch.setenv("ENDPOINT", made.address)
        monkeypatch.setenv("SECRET_ARN", "arn:of-secret")
        yield made


def keep(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Secrets Manager answer with a secret."""

    def get_secret_value(SecretId: str) -> dict[str, Any]:  # noqa: N803
        assert SecretId == "arn:of-secret"
        return {"SecretString": secret}

    monkeypatch.setattr(app, "_secrets", lambda: SimpleNamespace(get_secret_value=get_secret_value))


@pytest.mark.parametrize("secret", [NEW, f"whsec_{NEW}", f"{NEW} {OLD}", f"{OLD}\n{NEW}"])
def test_a_receiver_verifies_what_is_posted(secret: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(secret, monkeypatch)
    receiver.secret = f"whsec_{NEW}"

    app.handler(EVENT, None)

    [(headers, told)] = receiver.taken
    assert told == json.loads(BODY)
    assert headers["webhook-id"] == told["detail"]["id"]
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_a_receiver_with_another_key_refuses_and_the_message_is_tried_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(NEW, monkeypatch)
    receiver.secret = OLD

    with pytest.raises(app.NotTakenError, match=r"^the receiver answered 401$"):
        app.handler(EVENT, None)


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_that_is_signed_can_be_changed(change: str) -> None:
    seconds = int(time.time())
    sent = app.headers(BODY, [NEW], seconds)
    assert Webhook(NEW).verify(BODY, sent)

    other = {"webhook-id": "other", "webhook-timestamp": str(seconds - 1)}
    changed = sent | {name: value for name, value in other.items() if name == change}
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY.replace("ä", "a") if change == "body" else BODY, changed)


def test_a_call_is_good_for_five_minutes() -> None:
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(NEW).verify(BODY, app.headers(BODY, [NEW], int(time.time()) - 301))


@pytest.mark.parametrize("status", [301, 302, 307, 400, 410, 429, 500, 503])
def test_what_is_not_taken_is_raised_and_no_redirect_is_followed(
    status: int, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(NEW, monkeypatch)
    receiver.secret = NEW
    receiver.answers = [(status, {"Location": receiver.address})]

    with pytest.raises(app.NotTakenError, match=str(status)):
        app.handler(EVENT, None)
    assert receiver.taken == []


def test_a_receiver_whose_certificate_nobody_vouches_for_gets_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    keep(NEW, monkeypatch)

    with pytest.raises(ssl.SSLCertVerificationError):
        app.handler(EVENT, None)
    assert receiver.taken + receiver.refused == []


def test_a_receiver_that_does_not_answer_is_not_waited_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(NEW, monkeypatch)
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0.2)

    def receive(*_: object) -> tuple[int, dict[str, str]]:
        time.sleep(1)
        return 204, {}

    monkeypatch.setattr(receiver, "receive", receive)

    with pytest.raises(TimeoutError):
        app.handler(EVENT, None)


def test_the_template_gives_the_function_a_key_that_it_can_sign_with() -> None:
    made = TEMPLATE["Resources"]["SigningSecret"]["Properties"]["GenerateSecretString"]

    assert made == {"PasswordLength": 44, "ExcludePunctuation": True}
    assert 24 <= len(base64.b64decode("aB3" * 14 + "zz", validate=True)) <= 64, "as the specification asks"


def test_a_message_is_seen_again_when_the_function_has_surely_ended_and_is_tried_for_a_day() -> None:
    queue = TEMPLATE["Resources"]["OutcomesQueue"]["Properties"]

    assert FUNCTION["Timeout"] > app.ANSWER_SECONDS
    assert queue["VisibilityTimeout"] >= 6 * FUNCTION["Timeout"]
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] == 24 * 3600
    assert queue["MessageRetentionPeriod"] > 24 * 3600
