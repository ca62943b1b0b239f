"""The Kafka door in the template: what CloudFormation is really given, and what the function and its pollers may do."""

import re
from typing import Any, cast

import pytest
from cfnlint.api import ManualArgs, lint
from samcli.yamlhelper import yaml_parse

from imagelake.ingest.image_topic import TopicIngestion
from tests.application import ROOT, complaints, read, translated

BESIDE = read(ROOT / "infra/self_managed_kafka.yaml")
"""The stack of a self-managed cluster."""


def resource(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name])


def beside(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", BESIDE["Resources"][name])


def statements(policies: Any) -> dict[str, dict[str, Any]]:
    """Every statement by its Sid, whatever its condition."""
    found: dict[str, dict[str, Any]] = {}

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            if "Sid" in node:
                found[node["Sid"]] = node
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(policies)
    return found


def of_the_role() -> dict[str, dict[str, Any]]:
    return statements(resource("ConsumeImageTopicRole")["Properties"]["Policies"])


def of_self_managed() -> dict[str, dict[str, Any]]:
    return statements(beside("PollSelfManagedKafka")["Properties"]["PolicyDocument"])


def of_the_topic(part: int) -> dict[str, Any]:
    """The expression of one part of KafkaTopic: the topic itself (0), or its tenant (1)."""
    return {"Fn::Select": [part, {"Fn::Split": ["/", {"Fn::Sub": "${KafkaTopic}/"}]}]}


def test_the_mapping_has_every_control() -> None:
    properties = resource("ImageTopicOfMsk")["Properties"]
    expected = EXPECTED | {"Topics": [of_the_topic(0)]}
    assert {name: properties[name] for name in properties if name in EXPECTED} == expected
    assert properties["AmazonManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": {"Ref": "AWS::StackName"}}


def test_a_self_managed_cluster_is_read_with_the_same_controls() -> None:
    tuning = {name: one["Default"] for name, one in BESIDE["Parameters"].items() if "Default" in one}
    properties = {
        name: tuning.get(value["Ref"], value) if isinstance(value, dict) and "Ref" in value else value
        for name, value in beside("ImageTopicOfSelfManagedKafka")["Properties"].items()
    }
    own = {
        "FunctionName": {"Ref": "ConsumeImageTopicFunctionName"},
        "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": {"Ref": "MaximumPollers"}},
        "DestinationConfig": {
            "OnFailure": {"Destination": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${FailedRecordsBucketName}"}}
        },
    }
    assert {name: properties[name] for name in properties if name in EXPECTED} == EXPECTED | own
    assert tuning["MaximumPollers"] == EXPECTED["ProvisionedPollerConfig"]["MaximumPollers"]
    assert properties["SelfManagedKafkaEventSourceConfig"] == {"ConsumerGroupId": {"Ref": "LakeName"}}
    assert beside("ImageTopicOfSelfManagedKafka")["DependsOn"] == "PollSelfManagedKafka"


EXPECTED: dict[str, Any] = {
    "FunctionName": {"Ref": "ConsumeImageTopicFunction"},
    "Topics": [{"Ref": "KafkaTopic"}],
    "StartingPosition": "TRIM_HORIZON",
    "BatchSize": 100,
    "MaximumBatchingWindowInSeconds": 1,
    "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 4},
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "BisectBatchOnFunctionError": True,
    "MaximumRetryAttempts": 10,
    "MaximumRecordAgeInSeconds": 43200,
    "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["FailedRecordsBucket", "Arn"]}}},
    "MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]},
    "LoggingConfig": {"SystemLogLevel": "WARN"},
}


def test_each_cluster_is_read_as_it_wants_to_be() -> None:
    msk = resource("ImageTopicOfMsk")
    assert msk["Condition"] == "HasKafkaAndFromMsk"
    assert msk["Properties"]["EventSourceArn"] == {"Ref": "KafkaClusterArn"}
    assert "SourceAccessConfigurations" not in msk["Properties"], "without them MSK is read with IAM"
    own = beside("ImageTopicOfSelfManagedKafka")
    assert own["Properties"]["SourceAccessConfigurations"][0] == {
        "Type": {"Ref": "KafkaAuthentication"},
        "URI": {"Ref": "KafkaSecretArn"},
    }
    assert set(BESIDE["Parameters"]["KafkaAuthentication"]["AllowedValues"]) >= {
        "SASL_SCRAM_512_AUTH",
        "CLIENT_CERTIFICATE_TLS_AUTH",
    }


NETWORK = {"KafkaSubnetIds": "subnet-0a,subnet-0b", "KafkaSecurityGroupId": "sg-0a"}


@pytest.mark.parametrize(
    ("value", "is_accepted"),
    [
        ("", True),
        ("images", True),
        ("Images_2.eu/acme-7", True),
        ("images/", False),
        ("/acme", False),
        ("images/Acme", False),
        ("images/acme/west", False),
        (f"images/{'t' * 63}", True),
        (f"images/{'t' * 64}", False),
    ],
)
def test_a_topic_may_be_a_tenants(value: str, is_accepted: bool) -> None:
    template = translated()
    variables = resource("ConsumeImageTopicFunction")["Properties"]["Environment"]["Variables"]
    assert variables["KAFKA_TENANT"] == of_the_topic(1)
    assert bool(re.fullmatch(template["Parameters"]["KafkaTopic"]["AllowedPattern"], value)) == is_accepted


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, []),
        ({"KafkaTopic": "images", "KafkaClusterName": "warehouse"}, []),  # for a poller of one's own
        ({"KafkaClusterName": "warehouse"}, ["KafkaClusterName needs KafkaTopic"]),
        ({"KafkaClusterArn": "arn:aws:kafka:us-east-1:1:cluster/a/b"}, ["KafkaClusterArn needs KafkaTopic"]),
    ],
)
def test_half_a_kafka_is_refused_before_anything_is_made(given: dict[str, str], refused: list[str]) -> None:
    assert complaints(**given) == refused


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, []),
        (NETWORK, []),
        (NETWORK | {"KafkaSubnetIds": ""}, ["KafkaSecurityGroupId needs KafkaSubnetIds"]),
        (NETWORK | {"KafkaSecurityGroupId": ""}, ["KafkaSubnetIds needs KafkaSecurityGroupId"]),
    ],
)
def test_half_a_network_is_refused_before_anything_is_made(given: dict[str, str], refused: list[str]) -> None:
    assert complaints(BESIDE, KafkaClusterName="warehouse", **given) == refused


def test_a_cluster_of_one_s_own_needs_the_name_that_the_lake_has_for_it() -> None:
    assert "Default" not in BESIDE["Parameters"]["KafkaClusterName"]
    assert complaints(BESIDE, KafkaClusterName="") == [
        "KafkaBootstrapServers needs KafkaClusterName - deploy the lake with it"
    ]


@pytest.mark.parametrize(
    "parameter",
    [
        *("LakeName", "ConsumeImageTopicFunctionName", "ConsumeImageTopicRoleName", "FailedRecordsBucketName"),
        *("KafkaTopic", "KafkaBootstrapServers", "KafkaSecretArn"),
    ],
)
def test_a_self_managed_cluster_is_not_deployed_without(parameter: str) -> None:
    assert "Default" not in BESIDE["Parameters"][parameter]


@pytest.mark.parametrize(
    ("parameter", "value", "is_accepted"),
    [
        ("KafkaBootstrapServers", "b1.example.com:9094", True),
        ("KafkaBootstrapServers", "b1:9094, b2:9094", False),
        ("KafkaBootstrapServers", "b1", False),
        ("KafkaSubnetIds", "subnet-0a,subnet-0b", True),
        ("KafkaSubnetIds", "subnet-0a", False),
    ],
)
def test_lists_are_checked_before_anything_is_made(parameter: str, value: str, is_accepted: bool) -> None:
    assert bool(re.fullmatch(BESIDE["Parameters"][parameter]["AllowedPattern"], value)) == is_accepted


def test_a_stack_without_a_topic_has_nothing_of_kafka() -> None:
    assert translated()["Parameters"]["KafkaTopic"]["Default"] == ""
    names = [name for name in translated()["Resources"] if any(word in name for word in ("Kafka", "ImageTopic", "Msk"))]
    assert len(names) >= 3
    conditions = {"HasKafka", "HasKafkaAndFromMsk", "TakesKafka"}
    of_kafka = {"Fn::If": ["HasKafka", {"Ref": "ConsumeImageTopicFunction"}, "none"]}
    assert translated()["Conditions"]["TakesKafka"] == {"Fn::Not": [{"Fn::Equals": [of_kafka, "none"]}]}
    for name in [*names, "FailedRecordsBucket", "FailedRecordsBucketPolicy", "RecordsGivenUpRule"]:
        assert resource(name).get("Condition") in conditions, name


def test_the_function_and_its_pollers_may_do_exactly_this() -> None:
    assert actions(of_the_role()) == {
        "StoreImages": ["s3:PutObject"],
        "KeepRejectedRecords": ["s3:PutObject"],
        "TellOthers": ["events:PutEvents"],
        "WriteLogs": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "RedeemClaimChecks": ["s3:GetObject"],
        "FindCluster": [
            "kafka-cluster:Connect",
            "kafka-cluster:DescribeClusterDynamicConfiguration",
            "kafka:DescribeCluster",
            "kafka:DescribeClusterV2",
        ],
        "FindBrokers": ["kafka:GetBootstrapBrokers"],
        "ReadTopic": ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
        "CommitPositions": ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"],
        "JoinNetwork": ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"],
        "SeeNetwork": [
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
        ],
        "FindFailedRecordsBucket": ["s3:ListBucket"],
        "KeepGivenUpRecords": ["s3:PutObject"],
    }


def actions(some: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {
        sid: sorted([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        for sid, statement in some.items()
    }


def test_the_pollers_of_a_self_managed_cluster_may_do_exactly_this() -> None:
    granted, of_msk = of_self_managed(), of_the_role()
    network = {"JoinNetwork", "SeeNetwork"}
    assert set(granted) == {"ReadSecrets", *network, "FindFailedRecordsBucket", "KeepGivenUpRecords"}
    assert beside("PollSelfManagedKafka")["Properties"]["Roles"] == [{"Ref": "ConsumeImageTopicRoleName"}]
    for shared in granted.keys() - {"ReadSecrets"}:
        assert actions(granted)[shared] == actions(of_msk)[shared]
        assert granted[shared].get("Condition") == of_msk[shared].get("Condition")
    assert granted["ReadSecrets"]["Action"] == "secretsmanager:GetSecretValue"
    assert granted["ReadSecrets"]["Resource"] == [
        {"Ref": "KafkaSecretArn"},
        {"Fn::If": ["HasPrivateCa", {"Ref": "KafkaServerCaSecretArn"}, {"Ref": "AWS::NoValue"}]},
    ]
    bucket = "arn:${AWS::Partition}:s3:::${FailedRecordsBucketName}"
    assert granted["FindFailedRecordsBucket"]["Resource"] == {"Fn::Sub": bucket}
    assert granted["KeepGivenUpRecords"]["Resource"] == {"Fn::Sub": f"{bucket}/aws/lambda/*"}


def test_only_what_knows_no_resource_is_granted_without_one() -> None:
    for some, expected in ((of_the_role(), {"FindBrokers", "SeeNetwork"}), (of_self_managed(), {"SeeNetwork"})):
        assert {sid for sid, statement in some.items() if statement["Resource"] == "*"} == expected
    role = resource("ConsumeImageTopicRole")["Properties"]
    assert "ManagedPolicyArns" not in role


def test_pollers_join_networks_of_this_account_and_shared_subnets_only() -> None:
    ec2 = "arn:${AWS::Partition}:ec2:${AWS::Region}"
    for some in (of_the_role(), of_self_managed()):
        assert some["JoinNetwork"]["Resource"] == [
            {"Fn::Sub": f"{ec2}:${{AWS::AccountId}}:*/*"},
            {"Fn::Sub": f"{ec2}:*:subnet/*"},
        ]


def test_claim_checks_are_read_within_the_account_only() -> None:
    assert of_the_role()["RedeemClaimChecks"]["Condition"] == {
        "StringEquals": {"s3:ResourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_the_function_is_told_every_setting() -> None:
    variables = resource("ConsumeImageTopicFunction")["Properties"]["Environment"]["Variables"]
    assert {name.upper() for name in TopicIngestion.__dataclass_fields__} <= variables.keys()


def test_failed_records_are_private_encrypted_and_gone_with_their_dead_letters() -> None:
    bucket = resource("FailedRecordsBucket")["Properties"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    retention = resource("DeadLetterQueue")["Properties"]["MessageRetentionPeriod"]
    assert rule["ExpirationInDays"] * 86_400 == retention
    assert bucket["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"] is True
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]


def test_the_cluster_stack_is_clean_and_feeds_this_one() -> None:
    text = (ROOT / "infra" / "msk_cluster.yaml").read_text()
    assert lint(text, config=ManualArgs(regions=["us-east-1", "eu-central-1"])) == []
    outputs = yaml_parse(text)["Outputs"]
    assert {"KafkaClusterArn", "KafkaTopic"} <= outputs.keys() & translated()["Parameters"].keys()


def test_the_stack_of_a_self_managed_cluster_gets_what_the_lake_says() -> None:
    told = {"ConsumeImageTopicFunctionName", "ConsumeImageTopicRoleName", "FailedRecordsBucketName"}
    assert told <= BESIDE["Parameters"].keys() & translated()["Outputs"].keys()
    assert {translated()["Outputs"][name]["Condition"] for name in told} == {"HasKafka"}
    name = translated()["Outputs"]["KafkaClusterName"]
    assert (name["Condition"], name["Value"]) == ("NamesKafkaCluster", {"Ref": "KafkaClusterName"})
