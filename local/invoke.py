"""Run every function in a container of the Lambda runtime, with its sample event: `make local-invoke`.

The functions get the settings that they have in a deployed stack and the emulator's root credentials. What is proved
is that code, layers and runtime fit together.
"""

import base64
import ipaddress
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import DockerException
from rich.console import Console
from samcli.yamlhelper import yaml_parse

from local import lake as local_lake
from local.deployment import STACK_NAME, host_architecture, physical_id
from local.emulator import ROOT
from local.lake import Lake
from local.samples import make_samples

console = Console()

EXPECTED: Final[Mapping[str, tuple[str, Callable[[dict[str, Any]], bool]]]] = {
    "http_api": ("a form, status 201", lambda result: result["statusCode"] == 201),
    "consume_image_topic": ("no record to be delivered again", lambda result: result == {"batchItemFailures": []}),
    "open_image": ("the decision `open`", lambda result: result["decision"] == "open"),
    "process_image": ("the status `processed`", lambda result: result["status"] == "processed"),
    "close_image": (
        "a fault: the derivatives of the sample are not stored",
        lambda result: result["errorMessage"] == "NoSuchKey on HeadObject",
    ),
    "publish_outcomes": (
        "no record that has to come again",
        lambda result: result == {"batchItemFailures": []},
    ),
    "write_catalog": ("a Parquet file", lambda result: len(result["files"]) == 1),
    "rebuild_catalog": ("nothing missing", lambda result: result["missing"] == 0),
    "compact_catalog": ("no faults", lambda result: result["faults"] == {}),
    "enforce_retention": ("the work to do", lambda result: {"store": "items"} in result["work"]),
    "audit_retention": ("the keys of two reports", lambda result: len(result["reports"]) == 2),
    "configure_redshift": ("a failure, told to CloudFormation", lambda result: result == {"status": "FAILED"}),
    "rehearse_release": ("a failure, told to CloudFormation", lambda result: result == {"status": "FAILED"}),
    "reconcile": ("a count of arrivals", lambda result: result["given_up"] == 0),
    "redrive_images": ("the images of an hour that can be redriven", lambda result: result["after"] is None),
    "erase_image": ("status 404: nobody uploaded it", lambda result: result["statusCode"] == 404),
}
"""What each function answers to its sample in `events/`."""

NOT_DEPLOYED: Final = {"ConfigureRedshiftFunction"}
"""Functions of what the emulator does not have; they get their settings made up."""


def main() -> int:
    """Invoke every function; the exit code is 0 when all answer as documented."""
    try:
        engine = docker.from_env()
        engine.ping()
    except DockerException:
        console.print("No Docker engine answers, so no container can run: start one, or name one in DOCKER_HOST.")
        return 1
    (bridge, *_) = engine.networks.get("bridge").attrs["IPAM"]["Config"]
    gateway = bridge.get("Gateway") or str(next(ipaddress.ip_network(bridge["Subnet"]).hosts()))
    # Docker's engine is on this machine under Linux, in a virtual machine that knows its host by name elsewhere.
    host, address = (gateway, gateway) if platform.system() == "Linux" else ("host.docker.internal", None)
    with local_lake.running(report=console.print, address=address) as lake:
        template = _with_endpoint(lake)
        endpoint_url = lake.emulator.endpoint_url.replace("127.0.0.1", host)
        _place_sample(lake)
        return max([_invoke(lake, template, endpoint_url, name) for name in EXPECTED])


def _with_endpoint(lake: Lake) -> Path:
    """The built template with one more variable for each function: SAM sets none that a template does not name."""
    built = lake.emulator.folder / "build" / "template.yaml"
    return _changed(built, lambda globals_: globals_["Variables"].update(AWS_ENDPOINT_URL=lake.emulator.endpoint_url))


def _changed(
    built: Path, change: Callable[[dict[str, Any]], None], layers: Mapping[str, dict[str, Any]] | None = None
) -> Path:
    """Write `built` and its nested templates with `change` made to the variables of all functions.

    `sam local invoke` does not find a layer that is a parameter, so `layers`, by parameter, take the parameters' place.
    """
    document = yaml_parse(built.read_text(encoding="utf-8"))
    for name, layer in (layers or {}).items():
        del document["Parameters"][name]
        document["Resources"][name] = layer
    if "Globals" in document:
        change(document["Globals"]["Function"]["Environment"])
    for resource in document["Resources"].values():
        if resource["Type"] == "AWS::CloudFormation::Stack":
            layers = _layers_given(resource["Properties"], document["Resources"], built.parent)
            nested = _changed(built.parent / resource["Properties"]["TemplateURL"], change, layers)
            resource["Properties"]["TemplateURL"] = str(nested.relative_to(built.parent))
    target = built.with_name("invoke.json")
    target.write_text(json.dumps(document), encoding="utf-8")
    return target


def _layers_given(
    stack: dict[str, Any], resources: Mapping[str, dict[str, Any]], folder: Path
) -> dict[str, dict[str, Any]]:
    """Take the layers out of the parameters of a nested stack; each is named by the parameter that had it."""
    found = {}
    for name, value in list(stack["Parameters"].items()):
        layer = resources.get(value["Ref"]) if isinstance(value, dict) and "Ref" in value else None
        if layer is not None and layer["Type"] == "AWS::Serverless::LayerVersion":
            content = str((folder / layer["Properties"]["ContentUri"]).resolve())
            found[name] = layer | {"Properties": layer["Properties"] | {"ContentUri": content}}
            del stack["Parameters"][name]
    return found


def _stacks_of_functions(template: Path, path: str = "") -> dict[str, str]:
    """The full name of each function, such as `Kafka/ConsumeImageTopicFunction`, by its logical id."""
    found: dict[str, str] = {}
    for name, resource in yaml_parse(template.read_text(encoding="utf-8"))["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            found[name] = path + name
        elif resource["Type"] == "AWS::CloudFormation::Stack":
            found |= _stacks_of_functions(template.parent / resource["Properties"]["TemplateURL"], f"{path}{name}/")
    return found


def _place_sample(lake: Lake) -> None:
    """Put a picture where the sample event of open_image says there is one, and hold its event back."""
    event, sample, s3 = _event(lake, "open_image"), make_samples()[0], lake.client("s3")
    bucket = lake.stack.outputs["RawBucketName"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    s3.put_object(Bucket=bucket, Key=event["key"], Body=sample.content, ContentType=sample.content_type)


def _event(lake: Lake, name: str) -> dict[str, Any]:
    """The sample event, with this lake's places in place of the sample's."""
    event: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text(encoding="utf-8"))
    if name == "process_image":  # its order has to be signed here and now
        opened = lake.client("lambda").invoke(
            FunctionName=physical_id(lake.emulator, STACK_NAME, "OpenImageFunction"),
            Payload=json.dumps(_event(lake, "open_image")),
        )
        event = json.loads(opened["Payload"].read())["order"]
    if "authorizer" in event.get("requestContext", {}):  # the sample's token is for the sample's client
        token = lake.sign_in()
        claims = token.split(".")[1]
        event["headers"]["Authorization"] = token
        event["requestContext"]["authorizer"]["claims"] = json.loads(base64.urlsafe_b64decode(f"{claims}=="))
    if "ResponseURL" in event:
        target = {"Bucket": lake.stack.outputs["LakeBucketName"], "Key": "answer.json"}
        event["ResponseURL"] = lake.client("s3").generate_presigned_url("put_object", target)
    return event


def _invoke(lake: Lake, template: Path, endpoint_url: str, name: str) -> int:
    function = f"{name.title().replace('_', '')}Function"
    result = subprocess.run(
        [
            *(Path(sys.executable).with_name("sam"), "local", "invoke", _stacks_of_functions(template)[function]),
            *("--template", template, "--event", "-", "--env-vars", _variables(lake, endpoint_url, function)),
            *("--parameter-overrides", f"Architecture={host_architecture()}"),
            *os.environ.get("SAM_LOCAL_OPTIONS", "").split(),
        ],
        input=json.dumps(_event(lake, name)).replace(lake.emulator.endpoint_url, endpoint_url),
        env=lake.emulator.environment | {"SAM_CLI_TELEMETRY": "0", "SAM_CLI_CHECK_VERSION": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    documented, is_so = EXPECTED[name]
    try:
        as_documented = result.returncode == 0 and is_so(json.loads(result.stdout.splitlines()[-1]))
    except (ValueError, KeyError, IndexError):
        as_documented = False
    if as_documented:
        console.print(f"[green]ok[/green]      {function} with events/{name}.json: {documented}")
        return 0
    console.print(
        f"[red]FAILED[/red]  {function} with events/{name}.json: exit code {result.returncode}, not {documented}"
    )
    console.print(result.stdout, result.stderr, markup=False, highlight=False)
    return 1


def _variables(lake: Lake, endpoint_url: str, function: str) -> Path:
    """The settings that the deployed function has, in a file as `sam local invoke --env-vars` reads it.

    Args:
        lake: where the function is deployed.
        endpoint_url: of the emulator as containers see it.
        function: its logical id.
    """
    settings = _settings(lake, function)
    target = lake.emulator.folder / f"{function}.json"
    target.write_text(json.dumps({function: settings | {"AWS_ENDPOINT_URL": endpoint_url}}), encoding="utf-8")
    return target


def _settings(lake: Lake, function: str) -> dict[str, str]:
    if function in NOT_DEPLOYED:
        template = yaml_parse((ROOT / "stacks" / "redshift.yaml").read_text(encoding="utf-8"))
        return dict.fromkeys(template["Resources"][function]["Properties"]["Environment"]["Variables"], "none")
    physical = physical_id(lake.emulator, STACK_NAME, function)
    deployed = lake.client("lambda").get_function_configuration(FunctionName=physical)
    settings: dict[str, str] = deployed.get("Environment", {}).get("Variables", {})
    return settings


if __name__ == "__main__":
    sys.exit(main())
