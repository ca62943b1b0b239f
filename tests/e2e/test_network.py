"""The engine's network as it was deployed."""

from local import deployment
from local.lake import Lake


def test_the_engine_is_in_a_network_whose_only_way_out_is_s3(lake: Lake) -> None:
    name = deployment.physical_id(lake.emulator, lake.stack.name, "ProcessImageFunction")
    place = lake.client("lambda").get_function_configuration(FunctionName=name)["VpcConfig"]
    ec2 = lake.client("ec2")
    subnets = ec2.describe_subnets(SubnetIds=place["SubnetIds"])["Subnets"]
    (vpc,) = {subnet["VpcId"] for subnet in subnets}
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]

    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    tables = ec2.describe_route_tables(Filters=of_vpc)["RouteTables"]
    routes = [route for table in tables for route in table["Routes"]]
    assert {route["GatewayId"] for route in routes} == {"local"}
    (endpoint,) = ec2.describe_vpc_endpoints(Filters=of_vpc)["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"].split(".")[-1]) == ("Gateway", "s3")
    (group,) = ec2.describe_security_groups(GroupIds=place["SecurityGroupIds"])["SecurityGroups"]
    assert group["IpPermissions"] == []
    assert [(way["FromPort"], way["ToPort"]) for way in group["IpPermissionsEgress"]] == [(443, 443)]
