"""What a hostile script gets in the engine's place: on Lambda what docs/sandbox.md says, probe for probe."""

import base64
import os
import uuid
from urllib.parse import urlsplit

import pytest

from tests.aws.live import Live, Probe
from tests.aws.scripts import folders
from tests.integration.probes import PROBES, Given
from tests.unit.pictures import encoded, photo

IMAGE = base64.b64encode(encoded(photo())).decode()
OF_A_HIDDEN_FUNCTION = {
    "finds credentials in the environment of any process",
    "reads the environment of all processes above it",
}

OF_TWO_IMAGES_AT_ONCE = {"takes the event of another image"}
"""What these take of a deployed function is the event of another test."""


@pytest.fixture(scope="module")
def given(live: Live, probe: Probe) -> Given:
    places = probe("places")
    listens = urlsplit(os.environ["AWS_ENDPOINT_URL"] if live.is_emulated else f"//{places['api']}")
    return {
        "address": (listens.hostname or "", listens.port or 80),
        "file_of_user": f"{places['code']}/of-user",
        "folder_of_all": "/tmp",  # noqa: S108  # Lambda's own, for this function
        "package": "/opt/python/imagelake-probe.pth",
        "nap": f"5.{uuid.uuid4().int}",
    }


@pytest.mark.parametrize("name", PROBES)
def test_a_script_gets_what_the_page_says(name: str, live: Live, given: Given, probe: Probe) -> None:
    if live.is_emulated and name in OF_A_HIDDEN_FUNCTION:
        pytest.skip("the emulator has no Runtime API: functions there neither hide nor replace their process")

    if name in OF_TWO_IMAGES_AT_ONCE:
        pytest.skip("`test_probes` asks this, with a Runtime API of its own")

    said: dict[str, object] = {}
    for folder in folders(name):
        said = probe("run_script", folder=folder, image=IMAGE, params=given)

    assert (said.get("reached") is True) == PROBES[name].on_lambda
