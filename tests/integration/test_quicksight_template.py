"""QuickSight in the template: what it may read, where its results are, and that without it there is nothing of it."""

import re
from typing import Any, cast

import pytest
from samcli.yamlhelper import yaml_parse

from tests.application import ROOT, read, translated

GLUE = "arn:${AWS::Partition}:glue:${AWS::Region}:${AWS::AccountId}"
ATHENA = "arn:${AWS::Partition}:athena:${AWS::Region}:${AWS::AccountId}"
WORK_GROUP = f"{ATHENA}:workgroup/${{QuickSightWorkGroup}}"
CATALOG = f"{ATHENA}:datacatalog/AwsDataCatalog"
RESULTS = "${QuickSightResultsBucket.Arn}"
TABLES = [
    f"{GLUE}:catalog",
    f"{GLUE}:database/${{CatalogDatabase}}",
    f"{GLUE}:table/${{CatalogDatabase}}/${{CatalogTable}}",
    f"{GLUE}:table/${{CatalogDatabase}}/current_images",
]
GRANTS = {
    *((f"athena:{action}", WORK_GROUP) for action in ("GetQueryExecution", "GetQueryResults", "GetQueryResultsStream")),
    *((f"athena:{action}", WORK_GROUP) for action in ("GetWorkGroup", "StartQueryExecution", "StopQueryExecution")),
    *((f"athena:{action}", CATALOG) for action in ("GetDataCatalog", "GetDatabase", "GetTableMetadata")),
    *((f"athena:{action}", CATALOG) for action in ("ListDatabases", "ListTableMetadata")),
    ("athena:ListDataCatalogs", "*"),
    *(
        (f"glue:{action}", table)
        for action in ("GetDatabase", "GetDatabases", "GetTable", "GetTables")
        for table in TABLES
    ),
    *(
        (f"glue:{action}", table)
        for action in ("BatchGetPartition", "GetPartition", "GetPartitions")
        for table in TABLES
    ),
    ("glue:GetDatabase", f"{GLUE}:database/default"),
    ("s3:GetObject", "${LakeBucket.Arn}/catalog/*"),
    ("s3:GetObject", "${LakeBucket.Arn}/compaction/*"),
    ("s3:ListBucket", "${LakeBucket.Arn}"),
    *(
        (f"s3:{action}", f"{RESULTS}/*")
        for action in ("AbortMultipartUpload", "GetObject", "ListMultipartUploadParts", "PutObject")
    ),
    *((f"s3:{action}", RESULTS) for action in ("GetBucketLocation", "ListBucket", "ListBucketMultipartUploads")),
}


def properties(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name]["Properties"])


def statements() -> list[dict[str, Any]]:
    [policy] = properties("QuickSightRole")["Policies"]
    return cast("list[dict[str, Any]]", policy["PolicyDocument"]["Statement"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def spelled(value: Any) -> str:
    match value:
        case {"Fn::Sub": str(text)}:
            return text
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case _:
            return str(value)


def test_quicksight_may_do_exactly_this() -> None:
    grants = [
        (action, spelled(resource))
        for one in statements()
        for action in listed(one["Action"])
        for resource in listed(one["Resource"])
    ]

    assert set(grants) == GRANTS
    assert len(grants) == len(GRANTS)
    assert {one["Effect"] for one in statements()} == {"Allow"}
    assert "ManagedPolicyArns" not in properties("QuickSightRole")


def test_it_lists_of_the_lake_what_it_reads() -> None:
    [listing] = [one for one in statements() if one["Resource"] == {"Fn::GetAtt": ["LakeBucket", "Arn"]}]
    [reading] = [one for one in statements() if "LakeBucket.Arn" in str(one["Resource"]) and one is not listing]

    prefixes = [spelled(resource).removeprefix("${LakeBucket.Arn}/") for resource in reading["Resource"]]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": prefixes}}
    assert prefixes == ["catalog/*", "compaction/*"]


def test_the_role_is_for_quicksight_in_this_account() -> None:
    [trust] = properties("QuickSightRole")["AssumeRolePolicyDocument"]["Statement"]

    assert trust["Principal"] == {"Service": "quicksight.amazonaws.com"}
    assert trust["Condition"] == {"StringEqualsIfExists": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


def test_a_stack_without_a_principal_has_nothing_of_quicksight() -> None:
    assert translated()["Parameters"]["QuickSightPrincipalArn"]["Default"] == ""
    assert translated()["Conditions"]["HasQuickSight"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "QuickSightPrincipalArn"}, ""]}]
    }
    assert read(ROOT / "template.yaml")["Resources"]["QuickSight"]["DependsOn"] == "Analytics", "it asks the view"
    for section in ("Resources", "Outputs"):
        named = {name: one for name, one in translated()[section].items() if "QuickSight" in name}
        assert named
        assert {one.get("Condition") for one in named.values()} == {"HasQuickSight"}


@pytest.mark.parametrize(
    ("arn", "allowed"),
    [
        ("", True),
        ("arn:aws:quicksight:us-east-1:123456789012:user/default/ana", True),
        ("arn:aws:quicksight:eu-west-1:123456789012:user/default/AWSReservedSSO_Analyst_1a/ana@example.com", True),
        ("arn:aws:quicksight:us-east-1:123456789012:group/default/analysts", True),
        ("arn:aws:iam::123456789012:user/ana", False),
        ("arn:aws:quicksight:us-east-1:123456789012:dashboard/default/ana", False),
        ("ana", False),
    ],
)
def test_the_principal_is_a_user_or_group_of_quicksight(arn: str, allowed: bool) -> None:
    pattern = translated()["Parameters"]["QuickSightPrincipalArn"]["AllowedPattern"]

    assert bool(re.match(pattern, arn)) is allowed


def test_the_dashboard_gets_what_its_stack_wants() -> None:
    nested = properties("QuickSightDashboard")

    wanted = yaml_parse((ROOT / "stacks" / nested["TemplateURL"]).read_text(encoding="utf-8"))["Parameters"]
    assert nested["Parameters"].keys() == wanted.keys()
    assert nested["Parameters"]["WorkGroup"] == {"Ref": "QuickSightWorkGroup"}


def test_results_are_kept_for_a_day_in_a_private_bucket() -> None:
    bucket = properties("QuickSightResultsBucket")
    [rule] = bucket["LifecycleConfiguration"]["Rules"]
    configuration = properties("QuickSightWorkGroup")["WorkGroupConfiguration"]

    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["ResultConfiguration"]["OutputLocation"] == {"Fn::Sub": "s3://${QuickSightResultsBucket}/"}
    assert (rule["ExpirationInDays"], rule["Status"], "Prefix" in rule) == (1, "Enabled", False)
    assert "VersioningConfiguration" not in bucket
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
