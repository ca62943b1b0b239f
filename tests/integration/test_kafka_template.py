"""The Kafka door in the template: what CloudFormation is really given, and what the function and its pollers may do."""

import re
from typing import Any, cast

import pytest
from cfnlint.api import ManualArgs, lint
from samcli.yamlhelper import yaml_parse

from imagelake.ingest.image_topic import TopicIngestion
from tests.application import ROOT, complaints, translated


def resource(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name])


def statements() -> dict[str, dict[str, Any]]:
    """Every statement of the role by its Sid, whatever its condition."""
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

    collect(resource("ConsumeImageTopicRole")["Properties"]["Policies"])
    return found


@pytest.mark.parametrize("mapping", ["ImageTopicOfMsk", "ImageTopicOfSelfManagedKafka"])
def test_the_mapping_has_every_control(mapping: str) -> None:
    properties = resource(mapping)["Properties"]
    assert {name: properties[name] for name in properties if name in EXPECTED} == EXPECTED


EXPECTED = {
    "FunctionName": {"Ref": "ConsumeImageTopicFunction"},
    "Topics": [{"Ref": "KafkaTopic"}],
    "StartingPosition": "TRIM_HORIZON",
    "BatchSize": {"Ref": "KafkaBatchSize"},
    "MaximumBatchingWindowInSeconds": {"Ref": "KafkaBatchWindowSeconds"},
    "ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": {"Ref": "KafkaMaximumPollers"}},
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "BisectBatchOnFunctionError": True,
    "MaximumRetryAttempts": {"Ref": "KafkaMaximumRetries"},
    "MaximumRecordAgeInSeconds": {"Ref": "KafkaMaximumRecordAgeSeconds"},
    "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["FailedRecordsBucket", "Arn"]}}},
    "MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]},
    "LoggingConfig": {"SystemLogLevel": "WARN"},
}


def test_each_cluster_is_read_as_it_wants_to_be() -> None:
    msk = resource("ImageTopicOfMsk")
    assert (msk["Condition"], msk["Properties"]["EventSourceArn"]) == ("FromMsk", {"Ref": "KafkaClusterArn"})
    assert "SourceAccessConfigurations" not in msk["Properties"], "without them MSK is read with IAM"
    own = resource("ImageTopicOfSelfManagedKafka")
    assert own["Condition"] == "FromSelfManagedKafka"
    assert own["Properties"]["SourceAccessConfigurations"][0] == {
        "Type": {"Ref": "KafkaAuthentication"},
        "URI": {"Ref": "KafkaSecretArn"},
    }
    assert set(translated()["Parameters"]["KafkaAuthentication"]["AllowedValues"]) >= {
        "SASL_SCRAM_512_AUTH",
        "CLIENT_CERTIFICATE_TLS_AUTH",
    }


OWN = {
    "KafkaTopic": "images",
    "KafkaBootstrapServers": "b1:9094,b2:9094",
    "KafkaClusterName": "warehouse",
    "KafkaSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka-aB3dE6",
}
NETWORK = {"KafkaSubnetIds": "subnet-0a,subnet-0b", "KafkaSecurityGroupId": "sg-0a"}


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, []),
        (OWN, []),
        (OWN | NETWORK, []),
        ({"KafkaTopic": "images", "KafkaClusterName": "warehouse"}, []),  # for a poller of one's own
        ({"KafkaClusterName": "warehouse"}, ["KafkaClusterName needs KafkaTopic"]),
        ({"KafkaClusterArn": "arn:aws:kafka:us-east-1:1:cluster/a/b"}, ["KafkaClusterArn needs KafkaTopic"]),
        (OWN | {"KafkaSecretArn": ""}, ["KafkaBootstrapServers needs KafkaSecretArn"]),
        (OWN | {"KafkaBootstrapServers": ""}, ["KafkaSecretArn needs KafkaBootstrapServers"]),
        (OWN | {"KafkaClusterName": ""}, ["KafkaBootstrapServers needs KafkaClusterName"]),
        (OWN | NETWORK | {"KafkaSubnetIds": ""}, ["KafkaSecurityGroupId needs KafkaSubnetIds"]),
        (OWN | NETWORK | {"KafkaSecurityGroupId": ""}, ["KafkaSubnetIds needs KafkaSecurityGroupId"]),
    ],
)
def test_half_a_kafka_is_refused_before_anything_is_made(given: dict[str, str], refused: list[str]) -> None:
    assert complaints(**given) == refused


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
    assert bool(re.fullmatch(translated()["Parameters"][parameter]["AllowedPattern"], value)) == is_accepted


def test_a_stack_without_a_topic_has_nothing_of_kafka() -> None:
    assert translated()["Parameters"]["KafkaTopic"]["Default"] == ""
    names = [name for name in translated()["Resources"] if any(word in name for word in ("Kafka", "ImageTopic", "Msk"))]
    assert len(names) >= 4
    conditions = {"HasKafka", "FromMsk", "FromSelfManagedKafka"}
    for name in [*names, "FailedRecordsBucket", "FailedRecordsBucketPolicy", "RecordsGivenUpRule"]:
        assert resource(name).get("Condition") in conditions, name


def test_the_function_and_its_pollers_may_do_exactly_this() -> None:
    actions = {
        sid: sorted([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        for sid, statement in statements().items()
    }
    assert actions == {
        "StoreImages": ["s3:PutObject"],
        "KeepRejectedRecords": ["s3:PutObject"],
        "ReportToDeadLetterQueue": ["sqs:SendMessage"],
        "WriteLogs": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "RedeemClaimChecks": ["s3:GetObject"],
        "FindCluster": [
            "kafka-cluster:Connect",
            "kafka-cluster:DescribeClusterDynamicConfiguration",
            "kafka:DescribeCluster",
            "kafka:DescribeClusterV2",
            "kafka:GetBootstrapBrokers",
        ],
        "ReadTopic": ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"],
        "CommitPositions": ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"],
        "ReadSecrets": ["secretsmanager:GetSecretValue"],
        "JoinNetwork": [
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVpcs",
        ],
        "FindFailedRecordsBucket": ["s3:ListBucket"],
        "KeepGivenUpRecords": ["s3:PutObject"],
    }


def test_only_network_interfaces_are_without_a_resource() -> None:
    assert [sid for sid, statement in statements().items() if statement["Resource"] == "*"] == ["JoinNetwork"]
    role = resource("ConsumeImageTopicRole")["Properties"]
    assert "ManagedPolicyArns" not in role


def test_claim_checks_are_read_within_the_account_only() -> None:
    assert statements()["RedeemClaimChecks"]["Condition"] == {
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
    text = (ROOT / "infra" / "kafka.yaml").read_text()
    assert lint(text, config=ManualArgs(regions=["us-east-1", "eu-central-1"])) == []
    outputs = yaml_parse(text)["Outputs"]
    assert {"KafkaClusterArn", "KafkaTopic"} <= outputs.keys() & translated()["Parameters"].keys()
