"""The optional crawler in the template: off by default, apart from the catalog, with the rights for its task only."""

import re
from typing import Any, cast

from tests.application import translated

CRAWLER = ("CatalogCrawler", "CatalogCrawlerRole", "DiscoveredDatabase")
GLUE = "arn:${AWS::Partition}:glue:${AWS::Region}:${AWS::AccountId}"
FOUND = {f"{GLUE}:catalog", f"{GLUE}:database/${{DiscoveredDatabase}}", f"{GLUE}:table/${{DiscoveredDatabase}}/*"}


def properties(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", translated()["Resources"][name]["Properties"])


def statements() -> dict[str, dict[str, Any]]:
    [policy] = properties("CatalogCrawlerRole")["Policies"]
    return {one["Sid"]: one for one in policy["PolicyDocument"]["Statement"]}


def test_there_is_no_crawler_unless_one_is_asked_for() -> None:
    conditioned = {name for name, one in translated()["Resources"].items() if one.get("Condition") == "CrawlsCatalog"}

    assert conditioned == set(CRAWLER)
    assert translated()["Parameters"]["CrawlCatalog"]["Default"] == "false"


def test_the_crawler_reads_the_catalog_and_nothing_else() -> None:
    assert properties("CatalogCrawler")["Targets"] == {
        "S3Targets": [{"Path": {"Fn::Sub": "s3://${LakeBucket}/catalog/"}}]
    }
    granted = statements()
    assert granted["ReadFiles"]["Action"] == "s3:GetObject"
    assert granted["ReadFiles"]["Resource"] == {"Fn::Sub": "${LakeBucket.Arn}/catalog/*"}
    assert granted["FindFiles"]["Action"] == "s3:ListBucket"
    assert granted["FindFiles"]["Condition"] == {"StringLike": {"s3:prefix": "catalog/*"}}
    assert granted["FindBucket"]["Action"] == "s3:GetBucketLocation"
    for name in ("FindFiles", "FindBucket"):
        assert granted[name]["Resource"] == {"Fn::GetAtt": ["LakeBucket", "Arn"]}


def test_the_crawler_writes_into_its_own_database_and_forgets_what_is_purged() -> None:
    assert properties("CatalogCrawler")["DatabaseName"] == {"Ref": "DiscoveredDatabase"}
    assert {one["Fn::Sub"] for one in statements()["KeepWhatIsFound"]["Resource"]} == FOUND
    assert properties("CatalogCrawler")["SchemaChangePolicy"]["DeleteBehavior"] == "DELETE_FROM_DATABASE"
    assert properties("CatalogCrawler")["RecrawlPolicy"] == {"RecrawlBehavior": "CRAWL_EVERYTHING"}
    assert {"glue:DeletePartition", "glue:BatchDeletePartition"} <= set(statements()["KeepWhatIsFound"]["Action"])


def test_nobody_is_granted_by_default_what_the_crawler_finds() -> None:
    assert properties("DiscoveredDatabase")["DatabaseInput"]["CreateTableDefaultPermissions"] == []


def test_the_role_has_no_other_rights_and_only_glue_of_this_account_takes_it() -> None:
    role = properties("CatalogCrawlerRole")
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    actions = [action for one in statements().values() for action in _list(one["Action"])]

    assert "ManagedPolicyArns" not in role
    assert trust["Principal"] == {"Service": "glue.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert not [action for action in actions if "*" in action]
    assert {re.sub(":.*", "", action) for action in actions} == {"s3", "glue", "logs"}
    assert set(statements()) == {"ReadFiles", "FindFiles", "FindBucket", "KeepWhatIsFound", "Log"}
    assert statements()["Log"]["Resource"]["Fn::Sub"].endswith(":log-group:/aws-glue/crawlers:*")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
