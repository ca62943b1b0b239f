"""Which lake a command is about: a stack on AWS if one is named, else the local lake that describes itself."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
import platformdirs
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from imagelake_cli import publishing as hours_of_events
from imagelake_cli import redriving, sign_in
from imagelake_cli.athena import WorkGroup
from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.diagnosis import Diagnosis
from imagelake_cli.image_logs import ImageLogs
from imagelake_cli.kept_data import KeptData
from imagelake_cli.lake_api import LakeApi
from imagelake_cli.publishing import Publishing
from imagelake_cli.rebuilding import ANSWER_SECONDS, CatalogRebuilding
from imagelake_cli.redriving import ImageRedriving
from imagelake_cli.sign_in import SignIn
from imagelake_cli.stack import Stack
from imagelake_cli.user_pool import UserPool
from imagelake_cli.watch.monitor import Monitor

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sts import STSClient

DESCRIPTION: Final = Path(".local/lake.json")
"""Where a running local lake describes itself, in the folder of the repository."""


_DASHBOARDS: Final = {"flow": "DashboardUrl", "promise": "PromiseDashboardUrl"}
"""The outputs that lead to them."""
_OF_STACK: Final = ("region", "stack_name", "endpoint_url")
_OF_API: Final = ("api_url", "username", "password")


def pointer() -> Path:
    """The file with the path of a running lake's description, in the user's state folder; of the lake started last."""
    return platformdirs.user_state_path("imagelake") / "running-lake"


class NoLakeError(Exception):
    """There is nothing to connect to; the message says what can be done."""


@dataclass(frozen=True)
class Reach:
    """How a command reaches the API: a stack, or its API and client where there are no credentials of AWS, or neither.

    Without any, it is the local lake, as in `work_group`. `username` signs in; by default `IMAGELAKE_USERNAME`, and on
    the local lake its demo user.
    """

    stack: str | None = None
    region: str | None = None
    profile: str | None = None
    username: str | None = None
    api_url: str | None = None
    client_id: str | None = None


def work_group(stack: str | None, region: str | None, profile: str | None, role: str | None = None) -> WorkGroup:
    """The work group of the analysts, or that of a role of `governance/grants.yaml`, as that role.

    Args:
        stack: a stack on AWS; without it, the local lake described in this folder or the nearest one above, else the
            one that was started last.
        region: of the stack; by default that of the profile or the environment.
        profile: of the AWS configuration.
        role: its name in the file.

    Raises:
        NoLakeError: no stack is named and no local lake is running or its description is damaged, or the stack is not
            one of Image Lake, or has no such role.
        ClientError: AWS refused.
        BotoCoreError: AWS could not be asked.
    """
    chosen = _chosen(stack, region, profile)
    return _of_stack(*chosen) if role is None else _as_role(*chosen, role)


def catalog_rebuilding(stack: str | None, region: str | None, profile: str | None) -> CatalogRebuilding:
    """The function that rebuilds hours of the catalog; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    outputs = _outputs(session, name, endpoint_url, {"RebuildCatalogFunctionName"})
    return CatalogRebuilding(_caller(session, endpoint_url, ANSWER_SECONDS), outputs["RebuildCatalogFunctionName"])


def publishing(stack: str | None, region: str | None, profile: str | None) -> Publishing:
    """The function that puts the events of hours again; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    outputs = _outputs(session, name, endpoint_url, {"PublishOutcomesFunctionName"})
    caller = _caller(session, endpoint_url, hours_of_events.ANSWER_SECONDS)
    return Publishing(caller, outputs["PublishOutcomesFunctionName"])


def image_redriving(stack: str | None, region: str | None, profile: str | None) -> ImageRedriving:
    """The function that redrives images; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    outputs = _outputs(session, name, endpoint_url, {"RedriveImagesFunctionName"})
    caller = _caller(session, endpoint_url, redriving.ANSWER_SECONDS)
    return ImageRedriving(caller, outputs["RedriveImagesFunctionName"])


def dead_letter_queue(stack: str | None, region: str | None, profile: str | None) -> DeadLetterQueue:
    """The dead-letter queue of a lake; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    outputs = _outputs(session, name, endpoint_url, {"DeadLetterQueueUrl"})
    return DeadLetterQueue(session.client("sqs", endpoint_url=endpoint_url), outputs["DeadLetterQueueUrl"])


def kept_data(stack: str | None, region: str | None, profile: str | None) -> KeptData:
    """What a lake keeps, and what its audit says; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    wanted = {"AuditBucketName", "RawBucketName", "LakeBucketName", "ImagesTableName"}
    outputs = _outputs(session, name, endpoint_url, wanted)
    parameters = _described(session, name, endpoint_url).get("Parameters", [])
    days = {one.get("ParameterKey"): one.get("ParameterValue") for one in parameters}.get("RetentionDays")
    if days is None:
        raise NoLakeError(f"The stack {name} is not one of Image Lake: it has no parameter RetentionDays.")
    return KeptData(
        session.client("s3", endpoint_url=endpoint_url),
        session.client("dynamodb", endpoint_url=endpoint_url),
        outputs["AuditBucketName"],
        {"raw": outputs["RawBucketName"]}
        | dict.fromkeys(("derived", "catalog", "compaction"), outputs["LakeBucketName"]),
        outputs["ImagesTableName"],
        int(days),
    )


def diagnosis(stack: str | None, region: str | None, profile: str | None) -> Diagnosis:
    """The checks of a stack; arguments and errors are those of `work_group`."""
    found = Stack(*_chosen(stack, region, profile))
    described = _described(found.session, found.name, found.endpoint_url)
    return Diagnosis(found, described, lambda: kept_data(stack, region, profile))


def deployed(stack: str | None, region: str | None, profile: str | None) -> Stack:
    """A stack with all that it consists of; arguments and errors are those of `work_group`."""
    found = Stack(*_chosen(stack, region, profile))
    _described(found.session, found.name, found.endpoint_url)
    return found


def image_logs(stack: str | None, region: str | None, profile: str | None) -> ImageLogs:
    """The logs of a stack; arguments and errors are those of `work_group`."""
    found = deployed(stack, region, profile)
    groups = {
        one.logical_id.removesuffix("LogGroup"): one.physical_id
        for one in found.resources()
        if one.type == "AWS::Logs::LogGroup"
    }
    return ImageLogs(
        found.client("logs", config=Config(retries={"mode": "adaptive", "total_max_attempts": 10})), groups
    )


def dashboard(which: str, stack: str | None, region: str | None, profile: str | None) -> tuple[Monitor, str]:
    """Where a dashboard is, and its name: `flow` or `promise`; other arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    output = _DASHBOARDS[which]
    url = _outputs(session, name, endpoint_url, {output})[output]
    return Monitor(session.client("cloudwatch", endpoint_url=endpoint_url)), url.rpartition("name=")[2]


def _caller(session: boto3.Session, endpoint_url: str | None, seconds: int) -> "LambdaClient":
    # An answer can take as long as a function may run; asking again would run it twice.
    config = Config(read_timeout=seconds, retries={"total_max_attempts": 1}, tcp_keepalive=True)
    caller: LambdaClient = session.client("lambda", endpoint_url=endpoint_url, config=config)
    return caller


def lake_api(reach: Reach) -> LakeApi:
    """The HTTP API of a lake.

    Raises:
        NoLakeError: as `work_group`; or the API is named without its client, or beside a stack.
        SignInError: there is no name or password to sign in with.
        ClientError, BotoCoreError: AWS refused, or could not be asked.
    """
    if reach.api_url or reach.client_id:
        return _api_without_stack(reach)
    session, name, endpoint_url = _chosen(reach.stack, reach.region, reach.profile)
    outputs = _outputs(session, name, endpoint_url, {"ApiUrl", "UserPoolClientId"})
    if endpoint_url is None:
        username, password = sign_in.credentials(reach.username)
        return _api(session, None, outputs["ApiUrl"], outputs["UserPoolClientId"], (username, password))
    lake = _read(_description(), _OF_API)
    own = (lake["username"], lake["password"])
    known = own if reach.username in (None, lake["username"]) else sign_in.credentials(reach.username)
    return _api(session, endpoint_url, lake["api_url"], outputs["UserPoolClientId"], known)


def user_pool(stack: str | None, region: str | None, profile: str | None) -> UserPool:
    """The users of a lake; arguments and errors are those of `work_group`."""
    session, name, endpoint_url = _chosen(stack, region, profile)
    outputs = _outputs(session, name, endpoint_url, {"UserPoolId"})
    return UserPool(session.client("cognito-idp", endpoint_url=endpoint_url), outputs["UserPoolId"])


def _api_without_stack(reach: Reach) -> LakeApi:
    if reach.stack or not (reach.api_url and reach.client_id):
        raise NoLakeError("--api-url and --client-id go together, instead of --stack.")
    found = re.search(r"\.execute-api\.([a-z0-9-]+)\.", reach.api_url)
    region = reach.region or (found[1] if found else None)
    if region is None:
        raise NoLakeError("--region is needed: --api-url does not name one.")
    session = boto3.Session(region_name=region)
    return _api(session, None, reach.api_url.rstrip("/"), reach.client_id, sign_in.credentials(reach.username))


def _api(session: boto3.Session, endpoint_url: str | None, url: str, client_id: str, known: tuple[str, str]) -> LakeApi:
    pool = session.client("cognito-idp", endpoint_url=endpoint_url, config=Config(signature_version=UNSIGNED))
    return LakeApi(url, SignIn(pool, client_id, *known))


def _chosen(stack: str | None, region: str | None, profile: str | None) -> tuple[boto3.Session, str, str | None]:
    """A session, the name of a stack, and the endpoint of a local lake."""
    if stack is not None:
        return boto3.Session(profile_name=profile, region_name=region), stack, None
    if region or profile:
        raise NoLakeError("--region and --profile need --stack, the name of a stack on AWS.")
    lake = _read(_description(), _OF_STACK)
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=lake["region"])  # noqa: S106  # what the emulator takes from everybody
    return session, lake["stack_name"], lake["endpoint_url"]


def _description() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (nearest := folder / DESCRIPTION).is_file():
            return nearest
    with suppress(OSError, ValueError):  # no pointer, or none that can be read
        pointed = Path(pointer().read_text(encoding="utf-8").rstrip("\n"))
        if pointed.is_file():
            return pointed
    raise NoLakeError(
        f"No local lake is running: {DESCRIPTION} is neither in {here} nor in a folder above it, and {pointer()} "
        "names none. Start the local lake with make run in its repository, or name a stack on AWS with --stack "
        "(and --region, --profile)."
    )


def _read(description: Path, names: Sequence[str]) -> dict[str, str]:
    try:
        lake = json.loads(description.read_text(encoding="utf-8"))
        return {name: str(lake[name]) for name in names}
    except (ValueError, KeyError, TypeError):
        raise NoLakeError(
            f"{description} does not describe a local lake: remove it, and start the lake with make run."
        ) from None


def _of_stack(session: boto3.Session, stack: str, endpoint_url: str | None) -> WorkGroup:
    outputs = _outputs(session, stack, endpoint_url, {"AthenaWorkGroup", "CatalogDatabase"})
    athena: AthenaClient = session.client("athena", endpoint_url=endpoint_url)
    return WorkGroup(athena, outputs["AthenaWorkGroup"], outputs["CatalogDatabase"])


def _as_role(session: boto3.Session, stack: str, endpoint_url: str | None, role: str) -> WorkGroup:
    database = _outputs(session, stack, endpoint_url, {"CatalogDatabase"})["CatalogDatabase"]
    formation: CloudFormationClient = session.client("cloudformation", endpoint_url=endpoint_url)
    try:
        found = formation.describe_stack_resource(StackName=stack, LogicalResourceId="Governance")
    except formation.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise NoLakeError(f"The stack {stack} has no roles to ask as: deploy it with LakeFormation=true.") from None
    nested = found["StackResourceDetail"].get("PhysicalResourceId", "")
    outputs = {one["OutputKey"]: one["OutputValue"] for one in _described(session, nested, endpoint_url)["Outputs"]}
    if f"{role}Arn" not in outputs:
        roles = sorted(name.removesuffix("WorkGroup") for name in outputs if name.endswith("WorkGroup"))
        raise NoLakeError(f"The stack {stack} has no role {role} to ask as. There are {', '.join(roles)}.")
    sts: STSClient = session.client("sts", endpoint_url=endpoint_url)
    given = sts.assume_role(RoleArn=outputs[f"{role}Arn"], RoleSessionName="imagelake")["Credentials"]
    assumed = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=session.region_name
    )
    return WorkGroup(assumed.client("athena", endpoint_url=endpoint_url), outputs[f"{role}WorkGroup"], database)


def _outputs(session: boto3.Session, stack: str, endpoint_url: str | None, wanted: set[str]) -> dict[str, str]:
    """The outputs of a stack, with those that are wanted among them."""
    described = _described(session, stack, endpoint_url)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if missing := wanted - outputs.keys():
        raise NoLakeError(
            f"The stack {stack} is not one of Image Lake, or an older one: it has no output "
            f"{', '.join(sorted(missing))}."
        )
    return outputs


def _described(session: boto3.Session, stack: str, endpoint_url: str | None) -> "StackTypeDef":
    formation: CloudFormationClient = session.client("cloudformation", endpoint_url=endpoint_url)
    try:
        [described] = formation.describe_stacks(StackName=stack)["Stacks"]
        return described
    except EndpointConnectionError:
        if endpoint_url is None:
            raise
        raise NoLakeError(
            f"The local lake at {endpoint_url} does not answer: it was killed. Start another with make run in its "
            "repository."
        ) from None
