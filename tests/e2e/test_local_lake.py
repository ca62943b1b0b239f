"""What the emulator does with processes that die, and where it keeps what it holds."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from local.api_client import ApiClient
from local.emulator import ACCOUNT, ENVIRONMENTS
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually

KILLS = 10


def workers(function: str) -> list[psutil.Process]:
    """The environments of a function of the stack."""
    return list(_workers(function))


def _workers(function: str) -> Iterator[psutil.Process]:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if f"{function}Func" in command and "_worker.py" in command and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def test_workers_that_are_killed_are_replaced_and_never_more_than_there_may_be(
    samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_ids = []
    for _ in range(KILLS):
        image_ids += [upload(samples["dusk.jpg"]), upload(samples["icon.bmp"])]
        victim = eventually(lambda: workers("ProcessImage"), bool)[0]
        victim.kill()
        assert len(workers("ProcessImage")) <= ENVIRONMENTS

    assert {await_end(image_id)["status"] for image_id in image_ids} == {"processed"}
    with ThreadPoolExecutor(2 * ENVIRONMENTS) as pool:  # each of the places can be had again
        again = list(pool.map(upload, [samples["icon.bmp"]] * 2 * ENVIRONMENTS))
    assert {await_end(image_id)["status"] for image_id in again} == {"processed"}
    assert len(workers("ProcessImage")) <= ENVIRONMENTS


def test_a_function_that_is_killed_at_work_is_answered_with_a_problem_document(client: ApiClient) -> None:
    client.images(limit=1)
    stopped = workers("HttpApi")
    for worker in stopped:
        worker.suspend()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/uploads", json={"content_type": "image/jpeg"})
        time.sleep(0.5)
        for worker in stopped:
            worker.send_signal(signal.SIGKILL)
        answer = asked.result()

    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal server error",
        "instance": answer.json()["instance"],
    }
    assert client.post("/uploads", json={"content_type": "image/jpeg"}).status_code == 201


@pytest.mark.usefixtures("domain")
def test_objects_lie_in_files_and_an_erased_image_leaves_none(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["fog.jpg"])
    await_end(image_id)
    stored = lake.emulator.folder / "s3" / ACCOUNT
    buckets = [stored / lake.stack.outputs[name] for name in ("RawBucketName", "LakeBucketName")]

    def files() -> list[Path]:
        of_buckets = (file for bucket in buckets for file in bucket.rglob("*") if file.is_file())
        return [file for file in of_buckets if image_id in str(file)]

    assert samples["fog.jpg"].content in [file.read_bytes() for file in files()]
    assert len(files()) == 2 * 3  # the image and two derivatives, each with what is known of it

    client.delete(f"/images/{image_id}").raise_for_status()

    assert files() == []
