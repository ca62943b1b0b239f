"""What became of every image that was accepted, in all the places that say so."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.redriving import ImageRedriving
from local.lake import Lake
from tests.e2e.conftest import ENDED
from tests.e2e.faults.doors import Accepted
from tests.e2e.faults.injection import wait, wait_until_idle
from tests.e2e.faults.pictures import CLAIM, differs
from tests.e2e.faults.progress import say

FAR = 25.0
"""How far a derivative may be from its image, of 255: they are up to 7, and 22 of noise; other images from 30 on."""

type Items = dict[str, dict[str, Any]]


@dataclass
class Ledger:
    """Counts to print, under headings, and what is wrong with which images: nothing is to be."""

    counts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    wrong: dict[str, list[str]] = field(default_factory=dict)
    _heading: str = ""

    def begin(self, heading: str) -> None:
        """What is counted from now on belongs under this heading."""
        self._heading = heading
        say(heading)

    def count(self, what: str, number: int) -> None:
        """Note how many there are of what is as it should be."""
        self.counts[self._heading][what] = number

    def check(self, what: str, names: Iterable[str]) -> None:
        """Note with which images, or places, something is wrong."""
        found = sorted(names)
        self.count(what, len(found))
        if found:
            self.wrong[f"{self._heading}: {what}"] = found
            say(f"WRONG  {what}: {len(found)}, such as {found[:3]}")

    def __str__(self) -> str:
        return "\n".join(
            "\n".join([f"\n{heading}", *(f"{count:8,}  {what}" for what, count in counts.items())])
            for heading, counts in self.counts.items()
        )


def wait_until_taken(lake: Lake, accepted: Accepted) -> None:
    """Wait until the poller is through with its messages: each has an object, or was told to be refused."""

    def missing() -> set[str]:
        absent = accepted.keys() - arrived(lake)
        return absent and absent - rejections(lake).keys()

    wait(lake, missing, lambda absent: not absent)


def arrived(lake: Lake) -> set[str]:
    """The images that have an object in the bucket of raw images."""
    return {key.rpartition("/")[2] for key in versions(lake, "RawBucketName")}


def settled(lake: Lake, accepted: Accepted, ledger: Ledger) -> Items:
    """Check that nothing is lost and everything reported, as long as faults have their traces; gives the items."""
    found = items(lake, accepted)
    letters = reported(lake)
    at_the_door = refused_at_the_door(accepted, found, rejections(lake))
    by_status = Counter(item["status"] for item in found.values())
    ledger.count("accepted", len(accepted))
    for status in ENDED:
        ledger.count(status, by_status[status])
    ledger.count("refused at the door and kept", len(at_the_door))
    ended = {one for one, item in found.items() if item["status"] in ENDED} | at_the_door
    ledger.check("lost: without an outcome", accepted.keys() - ended)
    ledger.check(
        "marked as unreported",
        (one for one, item in found.items() if "unsettled_since" in item and item["status"] != "erased"),
    )
    failed = {one for one, item in found.items() if item["status"] == "failed"}
    ledger.check("failed without a dead letter", failed - letters.keys())
    ledger.count("dead letters about them", sum(len(letters.get(one, ())) for one in failed))
    return found


def refused_at_the_door(accepted: Accepted, found: Items, refusals: dict[str, list[str]]) -> set[str]:
    """The images that have no item, and were told to be rejected for a reason that is right for them."""
    return {
        one
        for one in accepted.keys() - found.keys()
        if any(code in accepted[one].outcomes for code in refusals.get(one, ()))
    }


def redriven(lake: Lake, accepted: Accepted, found: Items) -> int:
    """Redrive, as `imagelake redrive` does, what failed, or was rejected though its file is good; how many images."""
    redrivable = [
        one
        for one, item in found.items()
        if item["status"] == "failed" or (item["status"] == "rejected" and _code(item) not in accepted[one].outcomes)
    ]
    redriving = ImageRedriving(lake.client("lambda"), lake.stack.outputs["RedriveImagesFunctionName"])
    results = (
        [one.result for some in redriving.redrive(redrivable, dry_run=False) for one in some] if redrivable else []
    )
    assert results == ["redriven"] * len(redrivable)
    wait_until_idle(lake)
    return len(redrivable)


def cataloged(lake: Lake, accepted: Accepted, ledger: Ledger, events: Sequence[dict[str, Any]]) -> None:
    """Check what is true in the end of every image: outcome, event, file, row, checksum and derivatives."""
    found = items(lake, accepted)
    told(found, events, ledger)
    without = accepted.keys() - found.keys()
    ledger.check("without an item", (one for one in without if accepted[one] is not CLAIM))
    rows = current_rows(lake, found)
    ledger.count("cataloged", len(rows))
    codes = {one: "processed" if item["status"] == "processed" else _code(item) for one, item in found.items()}
    ledger.check("another outcome than its file's", (one for one in found if codes[one] not in accepted[one].outcomes))
    ledger.check("without their file", found.keys() - arrived(lake))
    ledger.check("not exactly one current row", (one for one in found if len(rows.get(one, ())) != 1))
    ledger.check("a row that says another status", (one for one in rows if rows[one][0][0] != found[one]["status"]))
    ledger.check("doubled: an outcome with two rows", doubled(lake, found))
    processed = [one for one, item in found.items() if item["status"] == "processed"]
    ledger.check("wrong SHA-256", (one for one in processed if _sha256(rows, one) != accepted[one].sha256))
    ledger.check("wrong derivatives", wrong_derivatives(lake, accepted, found, processed))


def items(lake: Lake, image_ids: Iterable[str]) -> Items:
    """The items of images that have one."""
    found: Items = {}
    for some in batched(sorted(image_ids), 100, strict=False):
        found |= lake.records(some)
    return found


def reported(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    """The messages in the dead-letter queue, by image."""
    queue = DeadLetterQueue(lake.client("sqs"), lake.stack.outputs["DeadLetterQueueUrl"])
    found = defaultdict(list)
    for letter in queue.letters():
        if letter.image_id:
            found[letter.image_id].append(letter.message)
    return dict(found)


def rejections(lake: Lake) -> dict[str, list[str]]:
    """The codes of the messages in the queue of rejections, by image."""
    queue = DeadLetterQueue(lake.client("sqs"), lake.stack.outputs["RejectionsQueueUrl"])
    found = defaultdict(list)
    for letter in queue.letters():
        found[letter.message["detail"]["image_id"]].append(letter.message["detail"]["reason_code"])
    return dict(found)


def told(found: Items, events: Sequence[dict[str, Any]], ledger: Ledger) -> None:
    """Check that each outcome has its event, once or more often."""
    heard = defaultdict(set)
    for one in events:
        heard[one["detail"].get("image_id")].add(one["detail-type"])
    names = {"processed": "ImageProcessed", "rejected": "ImageRejected", "failed": "ImageFailed"}
    ledger.check(
        "without the event of their outcome", (one for one in found if names[found[one]["status"]] not in heard[one])
    )
    ledger.count("events about them", sum(one["detail"].get("image_id") in found for one in events))


def told_of_rejections(lake: Lake, accepted: Accepted, ledger: Ledger) -> None:
    """Check that each rejection of the last four days has a message in its queue, once or more often."""
    kept = rejections(lake)
    refused = {one for one, item in items(lake, accepted).items() if item["status"] == "rejected"}
    ledger.check("rejected without a message in their queue", refused - kept.keys())
    ledger.count("messages about rejections", sum(len(kept.get(one, ())) for one in refused))


def current_rows(lake: Lake, image_ids: Iterable[str]) -> dict[str, list[list[str]]]:
    """Status and SHA-256 of the current rows of images, by image."""
    wanted, rows = set(image_ids), defaultdict(list)
    for image_id, *row in lake.analysts.ask("SELECT image_id, status, sha256 FROM current_images").rows:
        if image_id in wanted:
            rows[image_id].append(row)
    return dict(rows)


def doubled(lake: Lake, image_ids: Iterable[str]) -> set[str]:
    """Images of which the table has an outcome twice; one that failed and was redriven has two outcomes."""
    question = "SELECT image_id FROM images GROUP BY image_id, status HAVING count(*) > 1"
    return {row[0] for row in lake.analysts.ask(question).rows} & set(image_ids)


def wrong_derivatives(lake: Lake, accepted: Accepted, found: Items, image_ids: Sequence[str]) -> set[str]:
    """Images without both thumbnails, or with one that is not theirs."""
    s3, bucket = lake.client("s3"), lake.stack.outputs["LakeBucketName"]

    def is_wrong(image_id: str) -> bool:
        made = found[image_id]["derivatives"]
        if {one["name"] for one in made} != {"thumb_256", "thumb_1024"}:
            return True
        contents = [s3.get_object(Bucket=bucket, Key=one["key"])["Body"].read() for one in made]
        return any(differs(accepted[image_id], content) > FAR for content in contents)

    with ThreadPoolExecutor(4) as pool:
        return {one for one, wrong in zip(image_ids, pool.map(is_wrong, image_ids), strict=True) if wrong}


def versions(lake: Lake, bucket: str) -> list[str]:
    """The keys of all versions and delete markers of a bucket, which is given by its output."""
    pages = lake.client("s3").get_paginator("list_object_versions").paginate(Bucket=lake.stack.outputs[bucket])
    return [entry["Key"] for page in pages for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, ())]


def _sha256(rows: dict[str, list[list[str]]], image_id: str) -> str | None:
    return rows[image_id][0][1] if image_id in rows else None


def _code(item: dict[str, Any]) -> str:
    return str(item.get("reason", "")).partition(":")[0]
