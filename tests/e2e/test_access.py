"""Each role reads what governance/grants.yaml says of it, and no more: asked of the deployed stack, as that role.

Who decides is the emulator's Athena by the grants that were deployed, which is Lake Formation's part on AWS;
`imagelake access check --stack` asks a deployment the same.
"""

import json

import boto3
import pytest

from imagelake_cli import connection, grants
from imagelake_cli.athena import QueryError, WorkGroup
from local.api_client import ApiClient, send
from local.emulator import ROOT
from local.lake import Lake
from local.samples import make_samples
from tests.e2e.conftest import Command, eventually

GIVEN = grants.read(ROOT / grants.FILE)
ROLES = [grant.role for grant in GIVEN.grants if grant.role]
TENANTS = {"acme": 2, "zenith": 3}
"""Images by whose they are; those of others are nobody's."""


def as_role(lake: Lake, role: str) -> WorkGroup:
    session = boto3.Session("test", "test", region_name="us-east-1")
    return connection._as_role(session, lake.stack.name, lake.emulator.endpoint_url, role)


@pytest.fixture(scope="module", autouse=True)
def images_of_tenants(lake: Lake) -> None:
    """Images of two tenants in the catalog."""
    sample = next(one for one in make_samples() if one.status == "processed")
    ids = []
    for tenant, count in TENANTS.items():
        pool = {"UserPoolId": lake.stack.outputs["UserPoolId"]}
        password = lake.add_user(f"of-{tenant}")
        lake.client("cognito-idp").create_group(**pool, GroupName=f"tenant-{tenant}")
        lake.client("cognito-idp").admin_add_user_to_group(
            **pool, Username=f"of-{tenant}", GroupName=f"tenant-{tenant}"
        )
        client = ApiClient(lake, f"of-{tenant}", password)
        for grant in client.request_uploads([sample] * count):
            send(grant["upload"], sample.content, sample.content_type).raise_for_status()
            ids.append(grant["image_id"])
    listed = ", ".join(f"'{one}'" for one in ids)
    rows = f"SELECT count(*) AS rows FROM images WHERE image_id IN ({listed})"  # noqa: S608  # ids of ours
    eventually(lambda: lake.analysts.ask(rows).rows, lambda found: found == [[len(ids)]])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_the_columns_that_it_is_granted(role: str, lake: Lake) -> None:
    columns = ", ".join(GIVEN.columns_of(GIVEN.of(role)))

    assert len(as_role(lake, role).ask(f"SELECT {columns} FROM images LIMIT 1").rows) == 1  # noqa: S608  # of ours


@pytest.mark.parametrize(
    ("role", "column"),
    [
        (role, column)
        for role in ROLES
        for column in grants.TABLE_COLUMNS
        if column not in GIVEN.columns_of(GIVEN.of(role))
    ],
)
def test_a_role_reads_no_other_column(role: str, column: str, lake: Lake) -> None:
    with pytest.raises(QueryError, match=f"'{column}' cannot be resolved or requester is not authorized"):
        as_role(lake, role).ask(f"SELECT {column} FROM images LIMIT 1")  # noqa: S608  # of ours


@pytest.mark.parametrize("role", ROLES)
def test_a_role_with_a_filter_reads_the_rows_of_its_tenant_and_others_all(role: str, lake: Lake) -> None:
    question = "SELECT tenant, count(*) AS n FROM images WHERE tenant IS NOT NULL GROUP BY tenant ORDER BY tenant"

    every = [[tenant, count] for tenant, count in TENANTS.items()]
    assert as_role(lake, role).ask(question).rows == (every[:1] if GIVEN.of(role).rows else every)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("view", ["current_images", "current_images_personal"])
def test_a_view_is_for_whoever_may_read_all_that_it_reads(role: str, view: str, lake: Lake) -> None:
    """Filters of rows do not apply to views, so who has one reads none."""
    grant = GIVEN.of(role)
    question = f"SELECT image_id FROM {view} LIMIT 1"  # noqa: S608  # of ours

    if not grant.rows and (view == "current_images" or "personal" in grant.sensitivity):
        assert as_role(lake, role).ask(question).rows
    else:
        with pytest.raises(QueryError, match="Insufficient Lake Formation permission"):
            as_role(lake, role).ask(question)


def test_a_count_shows_no_row_that_is_filtered_out(lake: Lake) -> None:
    """Neither by a condition on what it may not see, nor by an order, a join or a subquery."""
    group = as_role(lake, "LakeTenantAnalyst")

    for question in (
        "SELECT count(*) AS n FROM images WHERE tenant = 'zenith'",
        "SELECT count(*) AS n FROM (SELECT * FROM images) AS inner_images WHERE tenant <> 'acme'",
        "SELECT count(*) AS n FROM images AS a JOIN images AS b USING (image_id) WHERE b.tenant <> 'acme'",
    ):
        assert group.ask(question).rows == [[0]], question
    with pytest.raises(QueryError, match="uploader"):
        group.ask("SELECT count(*) AS n FROM images WHERE uploader LIKE '%a%'")


def test_the_command_asks_as_a_role_and_compares_with_the_file(command: Command) -> None:
    checked = command("access", "check", "--file", str(ROOT / grants.FILE), "--json")

    assert (checked.returncode, checked.stderr) == (0, "")
    said = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [(one["role"], one["as_granted"]) for one in said] == [(role, True) for role in ROLES]

    refused = command("query", "--as", "LakeAnalyst", "SELECT gps_lat FROM images LIMIT 1")
    assert refused.returncode == 1
    assert "requester is not authorized" in " ".join(refused.stderr.split())
    unknown = command("query", "--as", "Nobody", "SELECT 1 AS one")
    assert unknown.returncode == 1
    assert "There are LakeAnalyst, LakePrivilegedAnalyst, LakeTenantAnalyst." in " ".join(unknown.stderr.split())
