"""The local lake: the stack, deployed and running on this machine, with a user who may upload."""

import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
from boto3.dynamodb.types import TypeDeserializer

from imagelake_cli import connection
from imagelake_cli.athena import WorkGroup
from kafka_poller.poller import Poller
from local import deployment, emulator
from local.deployment import Stack
from local.emulator import REGION, ROOT, Emulator, EmulatorError
from local.kafka import KafkaSide, brokered

DESCRIPTION: Final = ROOT / connection.DESCRIPTION
USERNAME: Final = "demo"
SPARE_BYTES: Final = 64_000_000
"""An image, what is made of it, and its row, with room to say that there is no more."""
_TRIED_BYTES: Final = 100_000
_TEMPORARY: Final = "image-lake-"

type Report = Callable[[str], None]


class LakeError(Exception):
    """A running lake does not go on; the message says why."""


@dataclass(frozen=True)
class Lake:
    """A running lake and how to get in."""

    emulator: Emulator
    stack: Stack
    kafka: KafkaSide
    username: str
    password: str
    pollers: Sequence[Poller] = ()

    def problem(self) -> str | None:
        """Why the lake does nothing, or only half of it, any more; nothing if it is well."""
        return _fullness(self.emulator.folder) or self.emulator.problem() or self.kafka.problem(self.pollers)

    @property
    def api_url(self) -> str:
        """Base of the HTTP API; the emulator serves it under a path of its own."""
        api_id = self.stack.outputs["ApiUrl"].removeprefix("https://").split(".")[0]
        return f"{self.emulator.endpoint_url}/_aws/execute-api/{api_id}/v1"

    def client(self, service: str) -> Any:
        """A boto3 client as the emulator's root user."""
        return self.emulator.client(service)

    @property
    def analysts(self) -> WorkGroup:
        """Where SQL is asked."""
        outputs = self.stack.outputs
        return WorkGroup(self.client("athena"), outputs["AthenaWorkGroup"], outputs["CatalogDatabase"])

    def sign_in(self, username: str | None = None, password: str | None = None) -> str:
        """A fresh ID token of the demo user, or of another."""
        answer = self.client("cognito-idp").initiate_auth(
            ClientId=self.stack.outputs["UserPoolClientId"],
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": username or self.username, "PASSWORD": password or self.password},
        )
        token: str = answer["AuthenticationResult"]["IdToken"]
        return token

    def add_user(self, username: str, group: str = "uploaders") -> str:
        """Create a user who may call the API as members of a group may.

        Returns:
            The user's password.
        """
        password = f"Aa1{secrets.token_urlsafe(12)}"
        pool = {"UserPoolId": self.stack.outputs["UserPoolId"], "Username": username}
        cognito = self.client("cognito-idp")
        cognito.admin_create_user(**pool, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(**pool, Password=password, Permanent=True)
        cognito.admin_add_user_to_group(**pool, GroupName=group)
        return password

    def records(self, image_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of up to 100 images that are in the images table, by their image_id."""
        if not image_ids:
            return {}
        table = self.stack.outputs["ImagesTableName"]
        keys = [{"image_id": {"S": image_id}} for image_id in image_ids]
        answer = self.client("dynamodb").batch_get_item(RequestItems={table: {"Keys": keys}})
        read = TypeDeserializer().deserialize
        items = [{name: read(value) for name, value in item.items()} for item in answer["Responses"][table]]
        return {item["image_id"]: item for item in items}

    def describe(self) -> dict[str, Any]:
        """What other programs need to use this lake."""
        return {
            "endpoint_url": self.emulator.endpoint_url,
            "region": REGION,
            "stack_name": self.stack.name,
            "api_url": self.api_url,
            "username": self.username,
            "password": self.password,
            "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
            "kafka_topic": self.kafka.topic,
        }


@contextmanager
def running(
    folder: Path | None = None,
    parameters: Mapping[str, str] | None = None,
    report: Report = lambda _step: None,
    address: str | None = None,
    pipelines: str | None = None,
    application: str = emulator.APPLICATION,
) -> Iterator[Lake]:
    """Start an emulator and a broker, deploy the stack, poll the topic and add a user; stop everything at the end.

    Args:
        folder: where the emulator keeps its files; by default a temporary folder that is removed at the end.
        parameters: of the template, beyond those that a laptop needs.
        report: is told each step as it begins.
        address: of this machine that the emulator listens on beside loopback.
        pipelines: what functions are to read instead of `pipelines.json`.
        application: the emulator, or the one with faults.

    Raises:
        BrokerError: the broker did not start.
        EmulatorError: the emulator did not start, or another lake runs in `folder`.
        DeploymentError: the stack could not be built or deployed.
        LakeError: there is no space left.
    """
    _clear_what_was_killed()
    with _home(folder) as home:
        report("Starting the emulator and a Kafka broker")
        with emulator.running(home, address, application) as aws, brokered(home / "kafka") as kafka:
            report("Building functions and layers (sam build)")
            template = deployment.build(aws, pipelines)
            report("Deploying the stack (sam deploy)")
            stack = deployment.deploy(aws, template, {"KafkaTopic": kafka.topic, **(parameters or {})})
            with kafka.polled(aws, stack) as pollers:
                lake = Lake(aws, stack, kafka, USERNAME, "", pollers)
                yield replace(lake, password=lake.add_user(USERNAME))


@contextmanager
def _home(folder: Path | None) -> Iterator[Path]:
    """A folder that no other lake uses; a temporary one is removed at the end, but for its logs after an error.

    Raises:
        EmulatorError: another lake runs there.
        LakeError: whatever went wrong, there is no space left.
    """
    home = folder or Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    home.mkdir(parents=True, exist_ok=True)
    lock = _locked(home)
    if lock is None:
        raise EmulatorError(f"another lake runs in {home}")
    kept: Sequence[Path] = ()
    try:
        yield home
    except Exception as error:
        kept = [*home.glob("*.log"), *home.glob("kafka/*.log")]
        if fullness := _fullness(home):
            raise LakeError(fullness) from error
        raise
    finally:
        if folder is None:
            _remove(home, kept)
        os.close(lock)


def _remove(home: Path, kept: Sequence[Path]) -> None:
    """What is kept goes when the next lake starts, which its lock shows to be nobody's."""
    for path in (*home.glob("*/*/"), *home.glob("*/")):
        if not any(path in file.parents for file in kept):
            shutil.rmtree(path, ignore_errors=True)
    if not kept:
        shutil.rmtree(home, ignore_errors=True)


def _fullness(home: Path) -> str | None:
    """Why nothing more can be kept in a folder, if so."""
    free = shutil.disk_usage(home).free
    if free < SPARE_BYTES:
        return f"no space left in {home}: {free / 1e6:.0f} MB are free, and a lake needs {SPARE_BYTES / 1e6:.0f}"
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(bytes(_TRIED_BYTES))
    except OSError as error:
        return f"nothing can be written to {home}: {error.strerror}"
    return None


def _locked(home: Path) -> int | None:
    """An open file that says, until it is closed or its process ends, that a lake runs here; none where one does."""
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _clear_what_was_killed() -> None:
    """End processes and remove folders of lakes whose program was killed before it could."""
    for home in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        if not os.access(home, os.W_OK) or not (home / "lock").exists():
            continue
        lock = _locked(home)
        if lock is not None:
            for process in psutil.process_iter(["cmdline"]):
                if any(part.startswith(f"{home}{os.sep}") for part in process.info["cmdline"] or ()):
                    with suppress(psutil.Error):
                        process.kill()
            shutil.rmtree(home, ignore_errors=True)
            os.close(lock)


def running_elsewhere() -> Lake:
    """The lake that another program keeps running and has described.

    Raises:
        FileNotFoundError: there is none.
    """
    said = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    aws = Emulator(said["endpoint_url"], DESCRIPTION.parent)
    stack = deployment.describe(aws, said["stack_name"])
    kafka = KafkaSide(said["kafka_bootstrap_servers"], said["kafka_topic"])
    return Lake(aws, stack, kafka, said["username"], said["password"])


def is_described() -> bool:
    """Whether a lake is described in this repository, and answers."""
    try:
        address = urlsplit(json.loads(DESCRIPTION.read_text(encoding="utf-8"))["endpoint_url"])
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5):
            return True
    except (OSError, ValueError, KeyError, TypeError):  # none, damaged, or of a lake that was killed
        return False


@contextmanager
def described(lake: Lake, report: Report = lambda _step: None) -> Iterator[None]:
    """Keep the description of a running lake where other programs look for it.

    Programs that run in other folders find it through `imagelake_cli.connection.pointer()`. The lake that started last
    has the pointer; each removes only its own. A state folder that cannot be written is reported, and no more.
    """
    description = json.dumps(lake.describe(), indent=2) + "\n"
    DESCRIPTION.parent.mkdir(exist_ok=True)
    try:
        DESCRIPTION.touch(mode=0o600)
        DESCRIPTION.write_text(description, encoding="utf-8")
        try:
            _point_here()
        except OSError as error:
            report(f"imagelake query finds this lake in its own folder only: {error}")
        yield
    finally:
        if DESCRIPTION.exists() and DESCRIPTION.read_text(encoding="utf-8") == description:
            DESCRIPTION.unlink()
            with suppress(OSError):
                if points_here():
                    connection.pointer().unlink()
                    connection.pointer().parent.rmdir()


def points_here() -> bool:
    """Whether the pointer in the user's state folder is to the lake of this repository."""
    with suppress(OSError, ValueError):
        return connection.pointer().read_text(encoding="utf-8") == f"{DESCRIPTION}\n"
    return False


def _point_here() -> None:
    """In one step, so that no other program reads half a path."""
    pointer = connection.pointer()
    pointer.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, written = tempfile.mkstemp(dir=pointer.parent)  # readable by the user only
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(f"{DESCRIPTION}\n")
    Path(written).replace(pointer)
