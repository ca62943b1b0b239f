"""`governance/grants.yaml`: what is refused, and that the stack written from it grants what it says."""

import copy
import json
from typing import Any

import pytest
import yaml
from samcli.yamlhelper import yaml_parse

from imagelake_cli import grants
from imagelake_cli.grants import GrantsError
from tests.application import ROOT
from tools import governance

TEXT = (ROOT / grants.FILE).read_text(encoding="utf-8")
FILE: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(TEXT)))
GIVEN = grants.parse(TEXT)
STACK: dict[str, dict[str, Any]] = yaml_parse(governance.template(GIVEN))["Resources"]
ACME = "arn:aws:iam::123456789012:role/acme"


def of_type(kind: str, stack: dict[str, dict[str, Any]] = STACK) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in stack.items() if one["Type"] == f"AWS::LakeFormation::{kind}"}


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        ({}, "grants.0: give one of role and principal"),
        ({"role": "A", "principal": ACME}, "grants.0: give one of role and principal"),
        ({"principal": "arn:aws:iam::123456789012:user/ana"}, "nothing is granted to a person"),
        ({"principal": "IAM_ALLOWED_PRINCIPALS"}, "nothing is granted to a person"),
        ({"role": "a role"}, "grants.0.role"),
        ({"role": "A", "permissions": ["SELECT"]}, "SELECT needs DESCRIBE"),
        ({"role": "A", "permissions": ["DESCRIBE", "DROP"]}, "grants.0.permissions.1"),
        ({"role": "A", "sensitivity": []}, "grants.0.sensitivity"),
        ({"role": "A", "sensitivity": ["secret"]}, "grants.0.sensitivity.0"),
        ({"role": "A", "rows": "tenant ="}, "rows is no condition in SQL"),
        ({"role": "A", "rows": "tenant"}, "rows is no condition in SQL"),
        ({"role": "A", "rows": "owner = 'acme'"}, "rows names owner, which the table does not have"),
        ({"role": "A", "rows": "tenant = (SELECT max(tenant) FROM images)"}, "rows may compare columns with values"),
        ({"role": "A", "rows": "lower(tenant) = 'acme'"}, "rows may compare columns with values"),
        ({"role": "A", "row": "tenant = 'acme'"}, "grants.0.row"),
    ],
    ids=str,
)
def test_a_grant_that_is_wrong_is_named_with_its_place(grant: dict[str, Any], problem: str) -> None:
    whole = {"sensitivity": ["public"], "permissions": ["DESCRIBE", "SELECT"]} | grant

    with pytest.raises(GrantsError) as refusal:
        grants.parse(yaml.safe_dump(FILE | {"grants": [whole]}))

    assert problem in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "rows",
    [
        "tenant = 'acme'",
        "tenant IN ('acme', 'zenith') AND NOT status = 'failed'",
        "ingest_date >= '2026-11-01' AND bytes BETWEEN 1 AND 2",
        "(tenant IS NULL OR tenant LIKE 'a%') AND width < 100 AND height <> 7",
    ],
)
def test_rows_are_conditions_on_columns(rows: str) -> None:
    grant = {"role": "A", "sensitivity": ["public"], "permissions": ["DESCRIBE", "SELECT"], "rows": rows}

    assert grants.parse(yaml.safe_dump(FILE | {"grants": [grant]})).of("A").rows == rows


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda columns: columns["public"].remove("status"), "status is listed nowhere"),
        (lambda columns: columns["personal"].append("status"), "status is listed twice"),
        (lambda columns: columns["public"].append("faces"), "faces is listed but the table has no such column"),
    ],
    ids=["left out", "twice", "unknown"],
)
def test_every_column_is_public_or_personal(change: Any, problem: str) -> None:
    file = copy.deepcopy(FILE)
    change(file["columns"])

    with pytest.raises(GrantsError, match=problem):
        grants.parse(yaml.safe_dump(file))


@pytest.mark.parametrize(("text", "problem"), [("a: [", "is no YAML"), ("", "valid"), ("- a", "valid")])
def test_a_file_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(GrantsError, match=problem):
        grants.parse(text)


def test_one_who_has_two_grants_is_refused() -> None:
    with pytest.raises(GrantsError, match="LakeAnalyst has two grants, which would add up"):
        grants.parse(yaml.safe_dump(FILE | {"grants": [FILE["grants"][0]] * 2}))


def test_a_grant_has_one_permission_and_a_resource_of_the_stack() -> None:
    for name, one in of_type("PrincipalPermissions").items():
        assert len(one["Permissions"]) == 1, name
        assert one["PermissionsWithGrantOption"] == [], name
        assert len(one["Resource"]) == 1, name


def test_whoever_has_rows_is_granted_by_name_and_never_by_tag() -> None:
    for grant in GIVEN.grants:
        own = [one for one in of_type("PrincipalPermissions").values() if grant.name in json.dumps(one["Principal"])]
        kinds = {kind for one in own for kind in one["Resource"]}
        assert ("DataCellsFilter" in kinds, "LFTagPolicy" in kinds) == (bool(grant.rows), not grant.rows), grant.name
        tables = [one["Resource"]["Table"]["Name"] for one in own if "Table" in one["Resource"]]
        assert "images" not in tables, "which would show every row"


def test_a_filter_names_the_columns_and_rows_of_its_grant() -> None:
    [cells] = of_type("DataCellsFilter").values()

    assert cells["ColumnNames"] == GIVEN.columns_of(GIVEN.of("LakeTenantAnalyst"))
    assert cells["RowFilter"] == {"FilterExpression": "tenant = 'acme'"}


def test_a_column_has_a_tag_if_it_is_public_and_else_that_of_its_table_which_hides_it() -> None:
    associations = of_type("TagAssociation").values()
    values = {json.dumps(one["Resource"]): one["LFTags"][0]["TagValues"] for one in associations}
    columns = [
        one["Resource"]["TableWithColumns"]["ColumnNames"]
        for one in associations
        if "TableWithColumns" in one["Resource"]
    ]
    tables = {
        one["Resource"]["Table"]["Name"]: one["LFTags"][0]["TagValues"]
        for one in associations
        if "Table" in one["Resource"]
    }

    assert columns == [[name] for name in FILE["columns"]["public"]]
    assert all(values[resource] == ["public"] for resource in values if "TableWithColumns" in resource)
    assert tables == {"images": ["personal"], "current_images": ["public"], "current_images_personal": ["personal"]}


def test_lake_formation_is_asked_for_one_change_at_a_time() -> None:
    chain = [
        name for name, one in STACK.items() if one["Type"].startswith("AWS::LakeFormation::") and "DependsOn" in one
    ]

    assert [STACK[name]["DependsOn"] for name in chain] == ["CompactionLocation", *chain[:-1]]
    assert chain[0] == "SensitivityTag"
    assert {*chain} | {"CatalogLocation", "CompactionLocation"} == {
        name for name, one in STACK.items() if one["Type"].startswith("AWS::LakeFormation::")
    }


def test_a_principal_that_is_there_is_granted_without_a_role_of_the_stack() -> None:
    grant = {"principal": ACME, "sensitivity": ["public"], "permissions": ["DESCRIBE", "SELECT"]}
    stack = yaml_parse(governance.template(grants.parse(yaml.safe_dump(FILE | {"grants": [grant]}))))

    granted = [one["Principal"] for one in of_type("PrincipalPermissions", stack["Resources"]).values()]
    assert {"DataLakePrincipalIdentifier": ACME} in granted
    assert {name for name, one in stack["Resources"].items() if one["Type"] == "AWS::IAM::Role"} == {"LocationsRole"}
    assert stack.get("Outputs", {}) == {}


def test_roles_of_analysts_have_no_right_in_s3() -> None:
    for name, one in STACK.items():
        if one["Type"] == "AWS::IAM::Role" and name != "LocationsRole":
            assert '"s3:' not in json.dumps(one), name
    locations = json.dumps(STACK["LocationsRole"])
    assert all(f'"s3:{action}' not in locations for action in ("Put", "Delete", "*"))
