"""Large images in the template: what is there, when, and what it may do."""

from typing import Any, cast

import pytest

from tests.application import complaints, translated

PARTS = {
    "HandOverLargeImages", "LargeImageCluster", "LargeImageRepository", "ProcessLargeImageLogGroup",
    "ProcessLargeImageTask", "SignOrdersOfTask", "StartLargeImageTaskRole",
}  # fmt: skip


def properties(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name]["Properties"])


def granted(document: dict[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Actions, resources and condition of each statement, by its Sid."""
    assert {statement["Effect"] for statement in document["Statement"]} == {"Allow"}
    return {one["Sid"]: (one["Action"], one["Resource"], one.get("Condition")) for one in document["Statement"]}


def test_nothing_of_it_is_in_a_stack_that_does_not_ask_for_it() -> None:
    resources = translated()["Resources"]

    assert {name for name, one in resources.items() if one.get("Condition") == "TakesLargeImages"} == PARTS
    assert {name for name in resources if "Large" in name} <= PARTS
    assert translated()["Conditions"]["TakesLargeImages"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "LargeImageTag"}, ""]}]
    }
    assert translated()["Parameters"]["LargeImageTag"]["Default"] == ""


@pytest.mark.parametrize("parameter", ["LargeImageTag", "LargeImageNetwork"])
def test_a_stack_that_asks_for_it_names(parameter: str) -> None:
    places = {"LargeImageTag": "v1", "LargeImageNetwork": "subnet-0a,subnet-0b/sg-0a"}

    assert complaints(**places) == []
    assert complaints() == []
    assert complaints(**places | {parameter: ""}) == ["LargeImageTag and LargeImageNetwork need each other"]
    assert translated()["Parameters"][parameter]["Default"] == ""


def test_the_task_has_no_role_and_is_told_nothing_of_the_stack() -> None:
    task = properties("ProcessLargeImageTask")
    (container,) = task["ContainerDefinitions"]

    assert "TaskRoleArn" not in task
    assert {one["Name"] for one in container["Environment"]} == {
        "POWERTOOLS_SERVICE_NAME", "LOG_LEVEL", "TASK_MEMORY_MB",
    }  # fmt: skip
    assert "Secrets" not in container


def test_orders_of_the_task_may_be_signed_and_nothing_else_that_is_derived() -> None:
    policy = properties("SignOrdersOfTask")

    assert policy["Roles"] == [{"Ref": "OpenImageRole"}]
    assert granted(policy["PolicyDocument"]) == {
        "SignOrder": ("s3:GetObject", {"Fn::Sub": "${LakeBucket.Arn}/derived/*/order.json"}, None)
    }


def test_ecs_may_pull_the_image_and_write_the_log() -> None:
    (policy,) = properties("StartLargeImageTaskRole")["Policies"]

    assert granted(policy["PolicyDocument"]) == {
        "PullContainerImage": (
            ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            {"Fn::GetAtt": ["LargeImageRepository", "Arn"]},
            None,
        ),
        "WriteLogs": (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            {"Fn::GetAtt": ["ProcessLargeImageLogGroup", "Arn"]},
            None,
        ),
        "SignInToRegistry": ("ecr:GetAuthorizationToken", "*", None),
    }


def test_only_tasks_of_this_account_take_the_role_that_starts_them() -> None:
    role = properties("StartLargeImageTaskRole")
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]

    assert (trust["Principal"], trust["Action"]) == ({"Service": "ecs-tasks.amazonaws.com"}, "sts:AssumeRole")
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert "ManagedPolicyArns" not in role


def test_the_workflow_may_start_this_task_in_this_cluster_and_nothing_else() -> None:
    policy = properties("HandOverLargeImages")

    assert policy["Roles"] == [{"Ref": "IngestImageRole"}]
    family = properties("ProcessLargeImageTask")["Family"]["Fn::Sub"]
    account = "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}"
    assert granted(policy["PolicyDocument"]) == {
        "RunTask": (
            "ecs:RunTask",
            {"Fn::Sub": f"{account}:task-definition/{family}:*"},
            {"ArnEquals": {"ecs:cluster": {"Fn::GetAtt": ["LargeImageCluster", "Arn"]}}},
        ),
        "PassRoleOfTask": (
            "iam:PassRole",
            {"Fn::GetAtt": ["StartLargeImageTaskRole", "Arn"]},
            {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
    }


def test_the_container_can_change_nothing_but_its_temporary_files() -> None:
    (container,) = properties("ProcessLargeImageTask")["ContainerDefinitions"]

    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["User"] not in ("", "0", "root")
    assert [mount["ContainerPath"] for mount in container["MountPoints"]] == ["/tmp"]  # noqa: S108  # as it is mounted
    assert container["LogConfiguration"]["Options"]["awslogs-group"] == {"Ref": "ProcessLargeImageLogGroup"}


def test_the_task_runs_on_the_processor_of_the_functions() -> None:
    assert properties("ProcessLargeImageTask")["RuntimePlatform"]["CpuArchitecture"] == {
        "Fn::If": ["OnArm", "ARM64", "X86_64"]
    }
    assert translated()["Conditions"]["OnArm"] == {"Fn::Equals": [{"Ref": "Architecture"}, "arm64"]}


def test_container_images_are_encrypted_scanned_and_never_replaced() -> None:
    repository = properties("LargeImageRepository")

    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    assert repository["EncryptionConfiguration"] == {"EncryptionType": "AES256"}
