"""One image, from the form to SQL and gone again: every role, rule, stream and signature on its way works."""

from typing import Any

import httpx

from imagelake_cli.athena import WorkGroup
from tests.aws.live import Live, eventually

CATALOG_SECONDS = 300


def test_an_image_is_processed_and_its_derivatives_are_stored(canary: dict[str, Any]) -> None:
    assert canary["status"] == "processed", canary.get("reason")
    derivatives = {one["name"]: one for one in canary["derivatives"]}
    assert set(derivatives) >= {"thumb_256", "thumb_1024"}
    for one in derivatives.values():
        assert httpx.get(one["url"], timeout=30).raise_for_status().content


def test_sql_finds_it(live: Live, canary: dict[str, Any]) -> None:
    analysts = WorkGroup(live.client("athena"), live.outputs["AthenaWorkGroup"], live.outputs["CatalogDatabase"])
    question = f"SELECT status FROM current_images WHERE image_id = '{canary['image_id']}'"  # noqa: S608  # a UUID

    rows = eventually(lambda: analysts.ask(question).rows, bool, CATALOG_SECONDS)

    assert rows == [["processed"]]


def test_erased_it_is_gone_from_everywhere(live: Live, api: httpx.Client, canary: dict[str, Any]) -> None:
    path = f"/images/{canary['image_id']}"

    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    for bucket in (live.outputs["RawBucketName"], live.outputs["LakeBucketName"]):
        pages = live.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
        left = [
            one["Key"]
            for page in pages
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            if canary["image_id"] in one["Key"]
        ]
        assert left == []
