"""A role with the rights that docs/analysts.md lists for analysts: they suffice to ask, and for nothing else."""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from imagelake_cli.athena import WorkGroup
from local.emulator import ROOT
from tests.aws.live import Live, eventually

ASSUMABLE_SECONDS = 60
"""What IAM may take until everybody knows of a role."""


def rights() -> list[list[str]]:
    """The actions of each row of the page's table; a name without a service is of the service before it."""
    _, _, section = (ROOT / "docs/analysts.md").read_text(encoding="utf-8").partition("| Rights | On |\n")
    found = []
    for line in section.partition("\n\n")[0].splitlines()[1:]:
        service, actions = "", []
        for named in re.findall(r"`([\w:]+)`", line.split("|")[1]):
            service = named.partition(":")[0] if ":" in named else service
            actions.append(f"{service}:{named.rpartition(':')[2]}")
        found.append(actions)
    return found


def policy(live: Live, account: str) -> dict[str, Any]:
    partition, database = live.engine["Role"].split(":")[1], live.outputs["CatalogDatabase"]
    glue = f"arn:{partition}:glue:{live.region}:{account}"
    bucket = f"arn:{partition}:s3:::{live.outputs['LakeBucketName']}"
    asks, finds, looks_at_default, reads = rights()
    work_group = f"arn:{partition}:athena:{live.region}:{account}:workgroup/{live.outputs['AthenaWorkGroup']}"
    tables = [f"{glue}:table/{database}/{name}" for name in (live.outputs["CatalogTable"], "current_images")]
    prefixes = ["catalog/*", "compaction/*"]
    files = [f"{bucket}/{prefix}" for prefix in prefixes]
    listed = {"StringLike": {"s3:prefix": prefixes}}
    statements: list[dict[str, Any]] = [
        {"Action": asks, "Resource": work_group},
        {"Action": finds, "Resource": [f"{glue}:catalog", f"{glue}:database/{database}", *tables]},
        {"Action": looks_at_default, "Resource": f"{glue}:database/default"},
        {"Action": [one for one in reads if one != "s3:ListBucket"], "Resource": files},
        {"Action": "s3:ListBucket", "Resource": bucket, "Condition": listed},
    ]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | one for one in statements]}


@pytest.fixture(scope="module")
def analyst(live: Live) -> Iterator[boto3.Session]:
    """Somebody with that role, which is deleted at the end."""
    parameters = live.client("cloudformation").describe_stacks(StackName=live.stack)["Stacks"][0]["Parameters"]
    if {"ParameterKey": "LakeFormation", "ParameterValue": "true"} in parameters:
        pytest.skip("Lake Formation decides here what is read (docs/redshift.md)")
    iam, sts, name = live.client("iam"), live.client("sts"), f"{live.stack}-analyst-{secrets.token_hex(4)}"
    account, partition = sts.get_caller_identity()["Account"], live.engine["Role"].split(":")[1]
    people = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [people]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]

    def assumed() -> dict[str, str] | None:
        try:
            taken: dict[str, str] = sts.assume_role(RoleArn=role, RoleSessionName="check")["Credentials"]
        except ClientError:
            return None
        return taken

    try:
        iam.put_role_policy(RoleName=name, PolicyName="asks", PolicyDocument=json.dumps(policy(live, account)))
        credentials = eventually(assumed, bool, ASSUMABLE_SECONDS)
        assert credentials
        yield boto3.Session(
            credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"], live.region
        )
    finally:
        for named in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=named)
        iam.delete_role(RoleName=name)


@pytest.mark.usefixtures("deployed")  # an emulator does not know of which work group a query is
@pytest.mark.parametrize("source", ["current_images", "images"])
def test_an_analyst_asks(live: Live, analyst: boto3.Session, source: str) -> None:
    asks = WorkGroup(analyst.client("athena"), live.outputs["AthenaWorkGroup"], live.outputs["CatalogDatabase"])

    assert asks.ask(f"SELECT count(*) AS images FROM {source}").rows  # noqa: S608  # one of the two above


@pytest.mark.parametrize(
    ("bucket", "key"),
    [("RawBucketName", "raw/nothing"), ("LakeBucketName", "derived/nothing"), ("AuditBucketName", "reports/nothing")],
)
def test_an_analyst_reads_no_image_and_no_evidence(live: Live, analyst: boto3.Session, bucket: str, key: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        analyst.client("s3").get_object(Bucket=live.outputs[bucket], Key=key)
