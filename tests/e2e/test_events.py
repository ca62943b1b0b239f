"""Outcomes as whoever listens on the bus is told of them."""

from imagelake.keys import ArrivalHour
from local.api_client import ApiClient
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually, invoke, listening, without


def test_a_sender_is_told_of_each_outcome_and_of_an_erasure(
    lake: Lake, client: ApiClient, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    with listening(lake) as listener:
        good, bad = upload(samples["icon.bmp"]), upload(samples["notes.jpg"])
        eventually(lambda: (listener.of(good), listener.of(bad)), all)
        assert await_end(good)["status"] == "processed"
        assert client.delete(f"/images/{good}").status_code == 204
        eventually(lambda: listener.of(good), lambda told: "ImageErased" in told)

        assert set(listener.of(good)) == {"ImageProcessed", "ImageErased"}
        assert set(listener.of(bad)) == {"ImageRejected"}
        told = next(one for one in listener.events if one["detail"]["image_id"] == bad)
        assert (told["source"], told["detail"]["reason_code"]) == ("image-lake", "not_an_image")


def test_what_could_not_be_told_is_told_when_it_can_and_an_hour_is_told_again(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    with listening(lake) as listener:
        with without(lake, "PublishOutcomesRole", "events:PutEvents"):
            image_id = upload(samples["icon.bmp"])
            assert await_end(image_id)["status"] == "processed"
            assert not listener.of(image_id)
        eventually(lambda: listener.of(image_id), bool)
        first = [one["detail"] for one in listener.events if one["detail"]["image_id"] == image_id]

        item = lake.records([image_id])[image_id]
        hour = ArrivalHour(item["ingest_date"], item["hour"])
        assert invoke(lake, "PublishOutcomesFunction", {"hour": hour.path})["after"] is None
        listener.look()

        every = [one["detail"] for one in listener.events if one["detail"]["image_id"] == image_id]
        assert len(every) > len(first)
        assert all(one == first[0] for one in every)


def test_a_queue_whose_policy_does_not_name_the_rule_gets_no_event(
    lake: Lake, samples: dict[str, Sample], upload: Upload
) -> None:
    with listening(lake) as named, listening(lake) as unnamed:
        lake.client("sqs").set_queue_attributes(QueueUrl=unnamed.url, Attributes={"Policy": ""})

        image_id = upload(samples["icon.bmp"])

        eventually(lambda: named.of(image_id), bool)
        assert not unnamed.of(image_id)
