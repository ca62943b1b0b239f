"""The engine's network as it was deployed. That the function is in it, the template says; the emulator does not."""

from local import deployment
from local.lake import Lake


def test_the_only_way_out_of_the_engine_s_network_is_s3(lake: Lake) -> None:
    ec2 = lake.client("ec2")
    vpc, group = (
        deployment.physical_id(lake.emulator, lake.stack.name, name) for name in ("EngineVpc", "EngineSecurityGroup")
    )
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]

    subnets = ec2.describe_subnets(Filters=of_vpc)["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == len(subnets) == 2
    tables = ec2.describe_route_tables(Filters=of_vpc)["RouteTables"]
    assert {route["GatewayId"] for table in tables for route in table["Routes"]} == {"local"}
    (endpoint,) = ec2.describe_vpc_endpoints(Filters=of_vpc)["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"].split(".")[-1]) == ("Gateway", "s3")
    (rules,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert rules["IpPermissions"] == []
    assert [(way["FromPort"], way["ToPort"]) for way in rules["IpPermissionsEgress"]] == [(443, 443)]
