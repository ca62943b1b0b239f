"""What became of every image that was accepted, in all the places that say so."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from imagelake_cli.dead_letter_queue import DeadLetterQueue
from imagelake_cli.redriving import ImageRedriving
from local import deployment
from local.lake import Lake
from tests.e2e.conftest import ENDED, eventually, invoke
from tests.e2e.faults.doors import Accepted
from tests.e2e.faults.injection import ask, set_clock
from tests.e2e.faults.pictures import differs

HOURS = 4
"""How often `reconcile` runs before what has no outcome is lost: one more than it tries an image."""
FAR = 15.0
"""How far a derivative may be from its image, of 255: they are up to 7, and other images from 30 on."""
OF_FAULTS = ("fault", "lost", "given_up")
"""What the reasons of images begin with that failed."""

type Items = dict[str, dict[str, Any]]


@dataclass
class Ledger:
    """Counts to print, and what is wrong with which images: nothing is to be."""

    counts: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def check(self, what: str, image_ids: Iterable[str]) -> None:
        """Note which images something is wrong with."""
        found = sorted(image_ids)
        self.counts[what] = len(found)
        if found:
            self.wrong[what] += found

    def __str__(self) -> str:
        return "\n".join(f"{count:8,}  {what}" for what, count in self.counts.items())


def reconciled(lake: Lake) -> int:
    """Let hours pass on the clock of `reconcile`, until every image has an outcome and every report is made.

    Returns:
        How often it ran.
    """
    function = deployment.physical_id(lake.emulator, lake.stack.name, "ReconcileFunction")
    try:
        for hour in range(1, HOURS + 1):
            set_clock(lake, 3600 * hour, function)
            answer = invoke(lake, "ReconcileFunction", {})
            wait_until_idle(lake)
            if not answer["restarted"] + answer["given_up"] + answer["reported"]:
                return hour
        return HOURS
    finally:
        set_clock(lake, 0, function)


def wait_until_idle(lake: Lake) -> None:
    """Wait until no execution and no function runs, and functions have had all records of streams."""
    eventually(lambda: ask(lake)["busy"], lambda busy: not any(busy.values()))


def wait_until_taken(lake: Lake, accepted: Accepted) -> None:
    """Wait until the poller is through with its messages: each has an object, or a message about its refusal."""

    def missing() -> set[str]:
        absent = accepted.keys() - arrived(lake)
        return absent and absent - reported(lake).keys()

    eventually(missing, lambda absent: not absent)


def arrived(lake: Lake) -> set[str]:
    """The images that have an object in the bucket of raw images."""
    pages = (
        lake.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=lake.stack.outputs["RawBucketName"], Prefix="raw/")
    )
    return {entry["Key"].rpartition("/")[2] for page in pages for entry in page.get("Contents", ())}


def settled(lake: Lake, accepted: Accepted, ledger: Ledger) -> Items:
    """Check that nothing is lost and everything reported, as long as faults have their traces; gives the items."""
    found = items(lake, accepted)
    letters = reported(lake)
    at_the_door = {
        one
        for one in accepted.keys() - found.keys()
        if any(_code(letter) in accepted[one].outcomes for letter in letters.get(one, ()))
    }
    by_status = Counter(item["status"] for item in found.values())
    ledger.counts["accepted"] = len(accepted)
    for status in ENDED:
        ledger.counts[status] = by_status[status]
    ledger.counts["refused at the door and kept"] = len(at_the_door)
    ended = {one for one, item in found.items() if item["status"] in ENDED} | at_the_door
    ledger.check("lost: without an outcome", accepted.keys() - ended)
    ledger.check("marked as unreported", (one for one, item in found.items() if "unreported_since" in item))
    refused = {one for one, item in found.items() if item["status"] in ("rejected", "failed")}
    ledger.check("rejected or failed without a message", refused - letters.keys())
    ledger.counts["messages about them"] = sum(len(letters.get(one, ())) for one in refused | at_the_door)
    return found


def redriven(lake: Lake, found: Items) -> int:
    """Redrive what failed, as `imagelake redrive` does; how many images that were."""
    failed = [one for one, item in found.items() if _code(item) in OF_FAULTS]
    redriving = ImageRedriving(lake.client("lambda"), lake.stack.outputs["RedriveImagesFunctionName"])
    results = [one.result for some in redriving.redrive(failed, dry_run=False) for one in some] if failed else []
    assert results == ["redriven"] * len(failed)
    wait_until_idle(lake)
    return len(failed)


def cataloged(lake: Lake, accepted: Accepted, ledger: Ledger) -> Items:
    """Check what is true in the end of every image: its outcome, its row, its checksum and its derivatives."""
    found = items(lake, accepted)
    rows = current_rows(lake, found)
    ledger.counts["cataloged"] = len(rows)
    codes = {one: "processed" if item["status"] == "processed" else _code(item) for one, item in found.items()}
    ledger.check("another outcome than its file's", (one for one in found if codes[one] not in accepted[one].outcomes))
    ledger.check("not exactly one current row", (one for one in found if len(rows.get(one, ())) != 1))
    ledger.check("a row that says another status", (one for one in rows if rows[one][0][0] != found[one]["status"]))
    ledger.check("doubled: an outcome with two rows", doubled(lake, found))
    processed = [one for one, item in found.items() if item["status"] == "processed"]
    ledger.check("wrong SHA-256", (one for one in processed if _sha256(rows, one) != accepted[one].sha256))
    ledger.check("wrong derivatives", wrong_derivatives(lake, accepted, found, processed))
    return found


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


def current_rows(lake: Lake, image_ids: Iterable[str]) -> dict[str, list[list[str]]]:
    """Status and SHA-256 of the current rows of images, by image."""
    wanted, rows = set(image_ids), defaultdict(list)
    for image_id, *row in lake.analysts.ask("SELECT image_id, status, sha256 FROM current_images").rows:
        if image_id in wanted:
            rows[image_id].append(row)
    return dict(rows)


def doubled(lake: Lake, image_ids: Iterable[str]) -> set[str]:
    """Images of which the table has the same outcome twice."""
    question = (
        "SELECT image_id FROM images GROUP BY image_id, status, processed_at, received_at, reason HAVING count(*) > 1"
    )
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


def _sha256(rows: dict[str, list[list[str]]], image_id: str) -> str | None:
    return rows[image_id][0][1] if image_id in rows else None


def _code(item: dict[str, Any]) -> str:
    return str(item.get("reason", "")).partition(":")[0]
