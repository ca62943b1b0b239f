"""The engine's network in the template: what leads out of it, who may use that way, and that the engine is in it."""

import re
from typing import Any, cast

import pytest

from tests.application import ROOT, TEMPLATE, _holds, read, translated

STACK = read(ROOT / "stacks/network.yaml")
OWN = "subnet-0a,subnet-0b/sg-0c"
PARTS = {
    "EngineVpc": "AWS::EC2::VPC",
    "EngineSubnetA": "AWS::EC2::Subnet",
    "EngineSubnetB": "AWS::EC2::Subnet",
    "EngineRouteTable": "AWS::EC2::RouteTable",
    "EngineRoutesA": "AWS::EC2::SubnetRouteTableAssociation",
    "EngineRoutesB": "AWS::EC2::SubnetRouteTableAssociation",
    "EngineS3Endpoint": "AWS::EC2::VPCEndpoint",
    "EngineSecurityGroup": "AWS::EC2::SecurityGroup",
}
"""Of the network, without the firewall for names. None of these costs anything."""


def properties(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name]["Properties"])


def given(node: Any, network: str) -> Any:
    """What CloudFormation makes of a value when `EngineNetwork` is `network`."""
    parameters = {"EngineNetwork": network}
    match node:
        case {"Ref": "EngineNetwork"}:
            return network
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Fn::If": [condition, yes, no]}:
            holds = _holds(TEMPLATE["Conditions"][condition], parameters)
            return given(yes if holds else no, network)
        case {"Fn::Split": [separator, text]}:
            whole = given(text, network)
            return whole.split(separator) if isinstance(whole, str) else whole
        case {"Fn::Select": [place, some]}:
            return given(some, network)[int(place)]
        case {"Fn::Sub": str(text)}:
            return text.replace("${EngineNetwork}", network)
        case {"Fn::GetAtt": _} | {"Fn::Join": _}:
            return node
        case dict():
            return {name: given(value, network) for name, value in node.items()}
        case list():
            return [given(value, network) for value in node]
        case _:
            return node


def test_the_engine_is_in_the_network_of_the_stack_by_default() -> None:
    assert TEMPLATE["Parameters"]["EngineNetwork"]["Default"] == "create"
    for network in ("create", "create-with-dns-firewall"):
        assert given(properties("ProcessImageFunction")["VpcConfig"], network) == {
            "SubnetIds": {"Fn::Join": [",", [{"Ref": "EngineSubnetA"}, {"Ref": "EngineSubnetB"}]]},
            "SecurityGroupIds": [{"Fn::GetAtt": ["EngineSecurityGroup", "GroupId"]}],
        }


def test_the_engine_is_in_subnets_of_one_s_own_or_in_none() -> None:
    assert given(properties("ProcessImageFunction")["VpcConfig"], OWN) == {
        "SubnetIds": ["subnet-0a", "subnet-0b"],
        "SecurityGroupIds": ["sg-0c"],
    }
    assert given(properties("ProcessImageFunction")["VpcConfig"], "none") is None


@pytest.mark.parametrize(
    ("network", "accepted"),
    [
        ("create", True),
        ("create-with-dns-firewall", True),
        ("none", True),
        (OWN, True),
        ("subnet-0a/sg-0c", True),
        ("", False),
        ("subnet-0a,subnet-0b", False),
        ("subnet-0a, subnet-0b/sg-0c", False),
        ("sg-0c", False),
    ],
)
def test_half_a_network_is_refused(network: str, accepted: bool) -> None:
    assert bool(re.fullmatch(TEMPLATE["Parameters"]["EngineNetwork"]["AllowedPattern"], network)) == accepted


def test_there_are_no_more_parameters_than_a_person_answers() -> None:
    assert len(TEMPLATE["Parameters"]) <= 20


def test_the_network_has_one_way_out_and_nothing_that_costs() -> None:
    resources = {name: one["Type"] for name, one in STACK["Resources"].items() if "Condition" not in one}

    # No route, no gateway, no interface endpoint: the routes are the local one and what the endpoint adds.
    assert resources == PARTS
    endpoint = properties("EngineS3Endpoint")
    assert endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == {"Fn::Sub": "com.amazonaws.${AWS::Region}.s3"}
    assert endpoint["RouteTableIds"] == [{"Ref": "EngineRouteTable"}]
    for place in "AB":
        assert not properties(f"EngineSubnet{place}").get("MapPublicIpOnLaunch")
        assert properties(f"EngineRoutes{place}") == {
            "SubnetId": {"Ref": f"EngineSubnet{place}"},
            "RouteTableId": {"Ref": "EngineRouteTable"},
        }


def test_the_way_out_leads_to_the_images_of_the_lake_and_to_its_derivatives() -> None:
    policy = properties("EngineS3Endpoint")["PolicyDocument"]

    condition = {"StringEquals": {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}}
    assert policy["Statement"] == [
        {
            "Sid": "ReadImages",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": {"Fn::Sub": "${RawBucket.Arn}/raw/*"},
            "Condition": condition,
        },
        {
            "Sid": "ReadPicturesOfRehearsals",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": {"Fn::Sub": "${LakeBucket.Arn}/derived/*/rehearsal/*"},
            "Condition": condition,
        },
        {
            "Sid": "StoreDerivatives",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": {"Fn::Sub": "${LakeBucket.Arn}/derived/*"},
            "Condition": condition,
        },
    ]


def test_nobody_reaches_the_engine_and_it_speaks_tls_only() -> None:
    group = properties("EngineSecurityGroup")
    [way] = group["SecurityGroupEgress"]

    assert "SecurityGroupIngress" not in group
    assert (way["IpProtocol"], way["FromPort"], way["ToPort"]) == ("tcp", 443, 443)


def test_the_network_is_there_where_it_is_asked_for_and_its_firewall_too() -> None:
    conditions = {name: one.get("Condition") for name, one in translated()["Resources"].items()}

    assert {name for name, condition in conditions.items() if condition == "MakesNetwork"} == set(PARTS)
    firewall = {name for name, condition in conditions.items() if condition == "MakesNetworkAndFiltersNames"}
    assert {translated()["Resources"][name]["Type"].split("::")[1] for name in firewall} == {"Route53Resolver"}
    for network, made in (("create", True), ("create-with-dns-firewall", True), ("none", False), (OWN, False)):
        assert _holds(TEMPLATE["Conditions"]["MakesNetwork"], {"EngineNetwork": network}) == made
    assert given(translated()["Conditions"]["FiltersNames"], "create") == {"Fn::Equals": ["false", "true"]}
    assert given(translated()["Conditions"]["FiltersNames"], "create-with-dns-firewall") == {
        "Fn::Equals": ["true", "true"]
    }


def test_the_firewall_answers_names_of_s3_and_no_other() -> None:
    allow, block = sorted(properties("EngineNameRules")["FirewallRules"], key=lambda rule: rule["Priority"])

    assert (allow["Action"], allow["FirewallDomainListId"]) == ("ALLOW", {"Fn::GetAtt": ["EngineAllowedNames", "Id"]})
    assert (block["Action"], block["FirewallDomainListId"]) == ("BLOCK", {"Fn::GetAtt": ["EngineOtherNames", "Id"]})
    # No star: a label of one's own choice in front of an allowed name would carry data.
    assert properties("EngineAllowedNames")["Domains"] == [
        {"Fn::Sub": "s3.${AWS::Region}.${AWS::URLSuffix}"},
        "s3.amazonaws.com",
    ]
    assert properties("EngineOtherNames")["Domains"] == ["*"]


def test_what_lambda_may_do_with_interfaces_the_code_in_a_function_may_not() -> None:
    [network] = [
        policy["PolicyDocument"]["Statement"]
        for policy in properties("ProcessImageRole")["Policies"]
        if policy["PolicyName"] == "join-network"
    ]
    [refused] = [one for one in network if one["Effect"] == "Deny"]

    assert {one["Sid"] for one in network} == {"JoinNetwork", "SeeNetwork", "KeepNetworkFromCode"}
    assert (refused["Action"], refused["Resource"]) == ("ec2:*", "*")
    function = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:*"
    assert refused["Condition"] == {"ArnLike": {"lambda:SourceFunctionArn": {"Fn::Sub": function}}}
    # Lambda needs them until its interfaces are gone, which is after the function has left the network.
    assert [one for one in network if "Fn::If" in one] == []
