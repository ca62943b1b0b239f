"""Writes the nested stack `stacks/governance.yaml` from `governance/grants.yaml`.

    python -m tools.governance [--check]

With `--check` it compares instead of writing.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from samcli.yamlhelper import yaml_parse

from imagelake_cli import grants
from imagelake_cli.grants import Grant, Grants
from local.emulator import ROOT
from tools.analytics_template import camel, dumped, named_queries
from tools.sql import VIEWS, named

TEMPLATE: Final = ROOT / "stacks" / "governance.yaml"
TABLE: Final = "images"
CATALOG: Final = {
    "WriteCatalog": ["DESCRIBE", "ALTER", "INSERT"],
    "CompactCatalog": ["DESCRIBE", "ALTER", "INSERT"],
    "RebuildCatalog": ["DESCRIBE", "ALTER", "INSERT"],
    "EnforceRetention": ["DESCRIBE", "ALTER", "DELETE"],
    "AuditRetention": ["DESCRIBE"],
}
"""What functions of the lake do with partitions, as permissions of Lake Formation on the table."""
_LOCATIONS: Final = ("catalog", "compaction")
_HEADER: Final = "# Written by make governance from governance/grants.yaml.\n"
_ACCOUNT: Final = {"Ref": "AWS::AccountId"}
_DATABASE: Final = {"Ref": "CatalogDatabase"}
_TAG: Final = {"Fn::Sub": "${CatalogDatabase}-sensitivity"}
_PARAMETERS: Final = (
    "LakeName", "LakeBucketArn", "CatalogDatabase", "AnalystsWorkGroup",
    *(f"{function}RoleArn" for function in CATALOG),
)  # fmt: skip

type Resources = dict[str, dict[str, Any]]


def template(given: Grants) -> str:
    """The nested stack as YAML."""
    roles = [grant for grant in given.grants if grant.role]
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Who may read what of the catalog, by Lake Formation. The deployer is an administrator of it.",
        "Parameters": {name: {"Type": "String"} for name in _PARAMETERS},
        "Resources": {
            **_privileged_work_group(),
            **_locations(),
            **_one_after_the_other(
                _tags(given)
                | _of_functions()
                | {name: one for grant in given.grants for name, one in _of_grant(grant, given).items()}
            ),
        },
        "Outputs": {name: {"Value": value} for grant in roles for name, value in _outputs(grant)},
    }
    return _HEADER + dumped(document)


def _one_after_the_other(resources: Resources) -> Resources:
    """Lake Formation refuses two changes of one principal or table at once (aws-cdk#36215)."""
    before = "CompactionLocation"
    chained: Resources = {}
    for name, one in resources.items():
        if one["Type"].startswith("AWS::LakeFormation::"):
            one, before = {"Type": one["Type"], "DependsOn": before, **one}, name
        chained[name] = one
    return chained


def _locations() -> Resources:
    """What Lake Formation has credentials for, and the role that it takes for them."""
    paths = [f"${{LakeBucketArn}}/{one}" for one in _LOCATIONS]
    statements = [
        _allow("ReadFiles", ["s3:GetObject"], [{"Fn::Sub": f"{path}/*"} for path in paths]),
        _allow("FindFiles", ["s3:ListBucket"], [{"Ref": "LakeBucketArn"}])
        | {"Condition": {"StringLike": {"s3:prefix": [f"{one}/*" for one in _LOCATIONS]}}},
    ]
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "lakeformation.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": _ACCOUNT}},
    }
    return {
        "LocationsRole": _role(trust, "read-catalog", statements),
        **{
            f"{one.title()}Location": {
                "Type": "AWS::LakeFormation::Resource",
                "Properties": {
                    "ResourceArn": {"Fn::Sub": path},
                    "RoleArn": {"Fn::GetAtt": "LocationsRole.Arn"},
                    "UseServiceLinkedRole": False,
                    "HybridAccessEnabled": False,
                },
            }
            for one, path in zip(_LOCATIONS, paths, strict=True)
        },
    }


def _tags(given: Grants) -> Resources:
    """The tag, on the database, the table, its public columns and its views.

    The table is `personal`, and a column without a tag has that of its table: CloudFormation replaces an association
    that changes, and takes the tags of the old one off afterwards, which hides a column and shows none.
    """
    tagged: list[tuple[str, dict[str, Any], str]] = [
        ("Database", {"Database": {"CatalogId": _ACCOUNT, "Name": _DATABASE}}, "public"),
        ("Images", {"Table": _table(TABLE)}, "personal"),
        *((camel(name), {"Table": _table(name)}, kind) for name, kind in views(given).items()),
        *(
            (f"Column{camel(name)}", {"TableWithColumns": _table(TABLE) | {"ColumnNames": [name]}}, "public")
            for name in given.columns.public
        ),
    ]
    tag = {
        "Type": "AWS::LakeFormation::Tag",
        "Properties": {"CatalogId": _ACCOUNT, "TagKey": _TAG, "TagValues": ["public", "personal"]},
    }
    return {
        "SensitivityTag": tag,
        **{
            f"{name}Sensitivity": {
                "Type": "AWS::LakeFormation::TagAssociation",
                "Properties": {
                    "Resource": resource,
                    "LFTags": [{"CatalogId": _ACCOUNT, "TagKey": _TAG, "TagValues": [value]}],
                },
            }
            for name, resource, value in tagged
        },
    }


def _of_functions() -> Resources:
    """What the lake's own functions need: Glue asks Lake Formation before it changes a partition."""
    found: Resources = {}
    for function, permissions in CATALOG.items():
        arn = {"Ref": f"{function}RoleArn"}
        for permission in permissions:
            found[f"{function}{permission.title()}"] = _permission(arn, permission, {"Table": _table(TABLE)})
        for location in _LOCATIONS if "ALTER" in permissions else ():
            found[f"{function}{location.title()}Location"] = _permission(
                arn,
                "DATA_LOCATION_ACCESS",
                {"DataLocation": {"CatalogId": _ACCOUNT, "ResourceArn": {"Fn::Sub": f"${{LakeBucketArn}}/{location}"}}},
            )
    return found


def _privileged_work_group() -> Resources:
    """Where personal data may be asked for; its results are kept apart from those of other analysts."""
    analysts = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]["AnalystsWorkGroup"]
    properties = json.loads(json.dumps(analysts["Properties"])) | {
        "Name": {"Fn::Sub": "${LakeName}-privileged-analysts"}
    }
    group = {"Type": "AWS::Athena::WorkGroup", "Properties": properties}
    return {"PrivilegedAnalystsWorkGroup": group, **named_queries("PrivilegedAnalystsWorkGroup")}


def _of_grant(grant: Grant, given: Grants) -> Resources:
    name = grant.role or f"Principal{given.grants.index(grant)}"
    arn = {"Fn::GetAtt": f"{name}Role.Arn"} if grant.role else grant.principal
    role = {f"{name}Role": _analyst_role(grant, given)} if grant.role else {}
    how = _by_name if grant.rows else _by_tag
    return role | {f"{name}{what}": one for what, one in how(arn, name, grant, given)}


def _by_tag(arn: Any, _name: str, grant: Grant, _given: Grants) -> Iterator[tuple[str, dict[str, Any]]]:
    expression = [{"TagKey": _TAG, "TagValues": grant.sensitivity}]
    for kind, permission in (("DATABASE", "DESCRIBE"), *(("TABLE", one) for one in grant.permissions)):
        policy = {"CatalogId": _ACCOUNT, "ResourceType": kind, "Expression": expression}
        yield f"{permission.title()}{kind.title()}s", _permission(arn, permission, {"LFTagPolicy": policy})


def _by_name(arn: Any, name: str, grant: Grant, given: Grants) -> Iterator[tuple[str, dict[str, Any]]]:
    """By name, as Lake Formation has no filter of rows for what is granted by tag; and no view, where filters of the
    table below do not apply: https://docs.aws.amazon.com/athena/latest/ug/lf-athena-limitations.html"""
    filter_name = {"Fn::Sub": f"${{LakeName}}-{name}"}
    table = {"TableCatalogId": _ACCOUNT, "DatabaseName": _DATABASE, "TableName": TABLE}
    yield (
        "Rows",
        {
            "Type": "AWS::LakeFormation::DataCellsFilter",
            "Properties": table
            | {
                "Name": filter_name,
                "ColumnNames": given.columns_of(grant),
                "RowFilter": {"FilterExpression": grant.rows},
            },
        },
    )
    database = {"Database": {"CatalogId": _ACCOUNT, "Name": _DATABASE}}
    yield "DescribeDatabase", _permission(arn, "DESCRIBE", database)
    for permission in grant.permissions:
        cells = {"DataCellsFilter": table | {"Name": filter_name}}
        yield f"{permission.title()}Images", _permission(arn, permission, cells)


def views(given: Grants) -> dict[str, str]:
    """The views of `analytics/views`, each with what it is."""
    return {
        file.stem: grants.sensitivity_of_view(named(file.stem, VIEWS)[1], given) for file in sorted(VIEWS.glob("*.sql"))
    }


def _outputs(grant: Grant) -> Iterator[tuple[str, Any]]:
    """What it takes to ask as a role: `imagelake query --as` reads it."""
    yield f"{grant.role}Arn", {"Fn::GetAtt": f"{grant.role}Role.Arn"}
    yield f"{grant.role}WorkGroup", {"Ref": _work_group(grant)}


def _work_group(grant: Grant) -> str:
    return "PrivilegedAnalystsWorkGroup" if "personal" in grant.sensitivity else "AnalystsWorkGroup"


def _analyst_role(grant: Grant, given: Grants) -> dict[str, Any]:
    """May ask Athena and see the schema; Lake Formation alone gives out what is in files."""
    group = _work_group(grant)
    tables = [TABLE, *(view for view, kind in views(given).items() if kind in grant.sensitivity and not grant.rows)]
    here = "${AWS::Region}:${AWS::AccountId}"
    schema = ["catalog", "database/${CatalogDatabase}", *(f"table/${{CatalogDatabase}}/{table}" for table in tables)]
    glue = f"arn:${{AWS::Partition}}:glue:{here}:"
    statements = [
        _allow(
            "Query",
            ["athena:BatchGetNamedQuery", "athena:GetNamedQuery", "athena:GetQueryExecution", "athena:GetQueryResults",
             "athena:GetQueryResultsStream", "athena:GetWorkGroup", "athena:ListNamedQueries",
             "athena:StartQueryExecution", "athena:StopQueryExecution"],
            [{"Fn::Sub": f"arn:${{AWS::Partition}}:athena:{here}:workgroup/${{{group}}}"}],
        ),
        _allow(
            "ReadSchema",
            ["glue:BatchGetPartition", "glue:GetDatabase", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable",
             "glue:GetTables"],
            [{"Fn::Sub": f"{glue}{one}"} for one in schema],
        ),
        _allow("SeeDefaultDatabase", ["glue:GetDatabase"], [{"Fn::Sub": f"{glue}database/default"}]),
        _allow("ReadThroughLakeFormation", ["lakeformation:GetDataAccess"], ["*"]),  # knows no resources
    ]  # fmt: skip
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}},
        "Action": "sts:AssumeRole",
    }
    return _role(trust, "ask", statements)


def _role(trust: dict[str, Any], policy: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    document = {"Version": "2012-10-17", "Statement": statements}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": policy, "PolicyDocument": document}],
        },
    }


def _allow(sid: str, actions: list[str], resources: list[Any]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _permission(arn: Any, permission: str, resource: dict[str, Any]) -> dict[str, Any]:
    """One resource a permission: CloudFormation fails where one has several (cloudformation-coverage-roadmap#1381)."""
    return {
        "Type": "AWS::LakeFormation::PrincipalPermissions",
        "Properties": {
            "Principal": {"DataLakePrincipalIdentifier": arn},
            "Resource": resource,
            "Permissions": [permission],
            "PermissionsWithGrantOption": [],
        },
    }


def _table(name: str) -> dict[str, Any]:
    return {"CatalogId": _ACCOUNT, "DatabaseName": _DATABASE, "Name": name}


def main(arguments: list[str]) -> int:
    """Write the file, or say that it is not as it would be written."""
    try:
        written = template(grants.read(ROOT / grants.FILE))
    except grants.GrantsError as error:
        print(error)
        return 1
    if "--check" not in arguments:
        TEMPLATE.write_text(written, encoding="utf-8")
    elif not TEMPLATE.is_file() or TEMPLATE.read_text(encoding="utf-8") != written:
        print(f"{TEMPLATE.relative_to(ROOT)}: not as written by make governance")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
