"""Redshift in the template: nothing of it by default, and what it and its roles may do where a stack has it."""

import re
from typing import Any, cast

import pytest

from tests.application import TEMPLATE, resolve, translated
from tests.integration.test_policies import GLUE, Grants, _grants

NAMES = (
    "RedshiftNamespace", "RedshiftWorkgroup", "RedshiftCatalog", "SpectrumRole", "SpectrumDescribesDatabase",
    "SpectrumSelectsImages", "ConfigureRedshiftFunction", "ConfigureRedshiftRole", "ConfigureRedshiftLogGroup",
)  # fmt: skip
CONDITIONS = {"HasRedshift", "HasRedshiftAndHasLakeFormation"}
SUBNETS = "subnet-0123456789abcdef0,subnet-0123456789abcdef1,subnet-0123456789abcdef2"
WORKGROUP = "${RedshiftWorkgroup.Workgroup.WorkgroupArn}"


def properties(name: str, **conditions: bool) -> dict[str, Any]:
    """The properties of a resource under these conditions."""

    def chosen(node: Any) -> Any:
        match node:
            case {"Fn::If": [condition, yes, no]}:
                return chosen(yes if conditions[condition] else no)
            case dict():
                return {key: chosen(value) for key, value in node.items()}
            case list():
                return [chosen(value) for value in node]
            case _:
                return node

    return cast("dict[str, Any]", chosen(translated()["Resources"][name]["Properties"]))


def test_a_stack_has_nothing_of_redshift_by_default() -> None:
    conditional = {name for name, one in translated()["Resources"].items() if one.get("Condition") in CONDITIONS}
    typed = {
        name
        for name, one in translated()["Resources"].items()
        if one["Type"].startswith(("AWS::Redshift", "Custom::Redshift"))
    }

    assert conditional == set(NAMES)
    assert typed <= conditional
    assert TEMPLATE["Parameters"]["RedshiftNetwork"]["Default"] == ""
    assert TEMPLATE["Conditions"]["HasRedshift"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "RedshiftNetwork"}, ""]}]}
    for output in ("RedshiftWorkgroupName", "RedshiftDatabase"):
        assert translated()["Outputs"][output]["Condition"] == "HasRedshift"


@pytest.mark.parametrize(
    ("network", "accepted"),
    [
        ("", True),
        (f"{SUBNETS}/sg-0123456789abcdef0", True),
        (f"{SUBNETS}/sg-0123456789abcdef0,sg-0123456789abcdef1", True),
        (f"{SUBNETS.rpartition(',')[0]}/sg-0123456789abcdef0", False),
        (f"{SUBNETS.replace(',', ', ')}/sg-0123456789abcdef0", False),
        (SUBNETS, False),
        (f"{SUBNETS}/", False),
        ("/sg-0123456789abcdef0", False),
    ],
)
def test_a_workgroup_takes_three_subnets_and_security_groups_or_none(network: str, accepted: bool) -> None:
    parameter = TEMPLATE["Parameters"]["RedshiftNetwork"]

    assert bool(re.fullmatch(parameter["AllowedPattern"], network)) == accepted
    assert "three availability zones" in parameter["ConstraintDescription"]


def test_subnets_and_security_groups_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEMPLATE["Parameters"]["RedshiftNetwork"], "Default", f"{SUBNETS}/sg-0123456789abcdef0")
    workgroup = properties("RedshiftWorkgroup")

    assert resolve(workgroup["SubnetIds"]) == SUBNETS.split(",")
    assert resolve(workgroup["SecurityGroupIds"]) == ["sg-0123456789abcdef0"]


def test_the_workgroup_is_small_private_and_speaks_tls_only() -> None:
    workgroup = properties("RedshiftWorkgroup")

    assert (workgroup["BaseCapacity"], workgroup["MaxCapacity"]) == (4, 16)
    assert workgroup["PubliclyAccessible"] is False
    assert {"ParameterKey": "require_ssl", "ParameterValue": "true"} in workgroup["ConfigParameters"]


def test_nobody_knows_the_password_and_the_role_is_the_namespace_s_only_one() -> None:
    namespace = properties("RedshiftNamespace")

    assert namespace["ManageAdminPassword"] is True
    assert "AdminUserPassword" not in namespace
    assert namespace["IamRoles"] == [{"Fn::GetAtt": ["SpectrumRole", "Arn"]}]
    assert "LogExports" not in namespace, "texts of queries in log groups that nobody expires"


CATALOG: Grants = {
    (f"glue:{action}", f"{GLUE}:{what}")
    for action in ("BatchGetPartition", "GetDatabase", "GetPartition", "GetPartitions", "GetTable", "GetTables")
    for what in ("catalog", "database/${CatalogDatabase}", "table/${CatalogDatabase}/${CatalogTable}")
}


@pytest.mark.parametrize(
    ("registered", "files"),
    [
        (
            False,
            {
                ("s3:ListBucket", "${LakeBucket.Arn}"),
                ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
                ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
            },
        ),
        (True, {("lakeformation:GetDataAccess", "*")}),
    ],
)
def test_spectrum_reads_the_catalog_and_nothing_else(registered: bool, files: Grants) -> None:
    role = properties("SpectrumRole", HasLakeFormation=registered)

    assert _grants(role) == CATALOG | files
    assert "ManagedPolicyArns" not in role


def test_spectrum_lists_no_derivatives() -> None:
    policies = properties("SpectrumRole", HasLakeFormation=False)["Policies"]
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]

    assert [one["Condition"] for one in statements if one["Action"] == "s3:ListBucket"] == [
        {"StringLike": {"s3:prefix": ["catalog/*", "compaction/*"]}}
    ]


def test_only_this_account_s_redshift_takes_the_role_of_spectrum() -> None:
    [trust] = properties("SpectrumRole", HasLakeFormation=False)["AssumeRolePolicyDocument"]["Statement"]

    assert trust["Principal"] == {"Service": ["redshift-serverless.amazonaws.com", "redshift.amazonaws.com"]}
    assert trust["Condition"] == {"StringEqualsIfExists": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_lake_formation_lets_spectrum_select_from_one_table_and_hand_nothing_on() -> None:
    granted = [properties(name) for name in NAMES if name.startswith("Spectrum") and name != "SpectrumRole"]

    assert {tuple(one["Resource"]): one["Permissions"] for one in granted} == {
        ("Database",): ["DESCRIBE"],
        ("Table",): ["SELECT"],
    }
    for one in granted:
        assert one["Principal"] == {"DataLakePrincipalIdentifier": {"Fn::GetAtt": ["SpectrumRole", "Arn"]}}
        assert one["PermissionsWithGrantOption"] == []
    [table] = [one["Resource"]["Table"] for one in granted if "Table" in one["Resource"]]
    assert (table["DatabaseName"], table["Name"]) == ({"Ref": "CatalogDatabase"}, {"Ref": "CatalogTable"})


def test_the_function_may_do_exactly_this() -> None:
    role = properties("ConfigureRedshiftRole")
    secret = "secret:redshift!${RedshiftNamespace}-admin-??????"  # noqa: S105  # its name

    assert _grants(role) == {
        ("redshift-serverless:GetNamespace", "${RedshiftNamespace.Namespace.NamespaceArn}"),
        ("redshift-serverless:GetWorkgroup", WORKGROUP),
        ("redshift-data:ExecuteStatement", WORKGROUP),
        ("redshift-data:BatchExecuteStatement", WORKGROUP),
        ("secretsmanager:GetSecretValue", GLUE.replace(":glue:", ":secretsmanager:") + f":{secret}"),
        ("redshift-data:DescribeStatement", "*"),
        ("redshift-serverless:CreateUsageLimit", "*"),
        ("redshift-serverless:DeleteUsageLimit", "*"),
        ("redshift-serverless:ListUsageLimits", "*"),
        ("redshift-serverless:UpdateUsageLimit", "*"),
        ("logs:CreateLogStream", "${ConfigureRedshiftLogGroup.Arn}"),
        ("logs:PutLogEvents", "${ConfigureRedshiftLogGroup.Arn}"),
    }
    assert "ManagedPolicyArns" not in role
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_the_function_follows_its_own_statements_only() -> None:
    [policy] = properties("ConfigureRedshiftRole")["Policies"]
    [statement] = [
        one for one in policy["PolicyDocument"]["Statement"] if one["Action"] == "redshift-data:DescribeStatement"
    ]

    assert statement["Condition"] == {"StringEquals": {"redshift-data:statement-owner-iam-userid": "${aws:userid}"}}


def test_cloudformation_waits_for_every_try_of_the_function_and_not_an_hour() -> None:
    waits = properties("RedshiftCatalog", HasLakeFormation=False)["ServiceTimeout"]
    tries, pauses = 3, 60 + 120  # seconds, of an asynchronous invocation

    assert waits == tries * properties("ConfigureRedshiftFunction")["Timeout"] + pauses


def test_a_changed_view_or_limit_is_an_update_of_the_custom_resource() -> None:
    custom = properties("RedshiftCatalog", HasLakeFormation=False)

    assert "Grants" not in custom or custom["Grants"] == {"Ref": "AWS::NoValue"}
    assert custom["DailyRpuHours"] == 8
    assert custom["DomainLayer"] == properties("ConfigureRedshiftFunction")["Layers"][0]
    assert re.fullmatch(r"DomainLayer[0-9a-f]+", custom["DomainLayer"]["Ref"]), "named after its content"
