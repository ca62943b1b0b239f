"""Stand-ins for S3, DynamoDB and Glue that keep time by a clock of ours, quick enough for a fortnight in a minute.

They answer the calls that the domain makes, in boto3's terms, and nothing else. `test_fakes` holds them against moto.
"""

import base64
import hashlib
import io
import itertools
import json
import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import RLock
from typing import Any, Self
from urllib.parse import quote, urlencode

from boto3.dynamodb.conditions import ConditionBase
from botocore.exceptions import ClientError

PAGE = 1000
MANY = 20_000


@dataclass
class Clock:
    """The time, as everybody in the simulation has it."""

    now: datetime

    def wait(self, span: timedelta) -> None:
        """Let time pass."""
        self.now += span

    def patched(self) -> type[datetime]:
        """`datetime`, but its `now` is this clock's."""
        clock = self

        class Simulated(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Self:  # noqa: ARG003  # datetime's own signature
                return clock.now  # type: ignore[return-value]  # a datetime is all that callers want

        return Simulated


def refused(code: str, operation: str) -> ClientError:
    """What boto3 raises when a service says no."""
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


@dataclass(slots=True)
class _Version:
    version_id: str
    body: bytes
    stored_at: datetime
    headers: dict[str, Any]
    is_marker: bool = False

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


class _Bucket:
    def __init__(self, *, has_versions: bool) -> None:
        self.has_versions = has_versions
        self.keys: list[str] = []
        """Sorted; those without versions go when there are many, since taking one out moves all that follow."""
        self.versions: dict[str, list[_Version]] = {}
        """By key, newest first."""

    def add(self, key: str, version: _Version) -> None:
        if key not in self.versions:
            at = bisect_left(self.keys, key)
            if self.keys[at : at + 1] != [key]:
                self.keys.insert(at, key)
            self.versions[key] = []
        if not self.has_versions:
            self.versions[key].clear()
        self.versions[key].insert(0, version)

    def remove(self, key: str, version_id: str) -> None:
        kept = [version for version in self.versions.get(key, ()) if version.version_id != version_id]
        if key in self.versions:
            self.versions[key] = kept
            if not kept:
                del self.versions[key]
                if len(self.keys) > len(self.versions) + MANY:
                    self.keys = sorted(self.versions)

    def under(self, prefix: str, after: str = "") -> Iterator[str]:
        """Keys with `prefix`, later than `after`, whatever is deleted meanwhile."""
        last = max(prefix, after)
        inclusive = last == prefix
        while True:
            at = bisect_left(self.keys, last)
            if not inclusive and at < len(self.keys) and self.keys[at] == last:
                at += 1
            if at == len(self.keys) or not self.keys[at].startswith(prefix):
                return
            last, inclusive = self.keys[at], False
            if last in self.versions:
                yield last

    def current(self, key: str) -> _Version | None:
        found = self.versions.get(key)
        return found[0] if found and not found[0].is_marker else None


class FakeS3:
    """A client of S3."""

    def __init__(self, clock: Clock, versioned: set[str], latency: Callable[[str], None] = lambda _operation: None):
        self.clock, self.calls = clock, Counter[str]()
        self.before = latency
        """Is called ahead of each operation, with its name; may raise, or do something meanwhile."""
        self._versioned = versioned
        self._buckets: dict[str, _Bucket] = {}
        self.uploads: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._lock = RLock()

    def bucket(self, name: str) -> _Bucket:
        """What a bucket holds."""
        return self._buckets.setdefault(name, _Bucket(has_versions=name in self._versioned))

    def put_object(self, Bucket: str, Key: str, Body: bytes, **options: Any) -> dict[str, Any]:  # noqa: N803
        """Store an object; knows `IfNoneMatch="*"` and `IfMatch`."""
        with self._doing("PutObject"):
            current = self.bucket(Bucket).current(Key)
            if options.pop("IfNoneMatch", None) and current:
                raise refused("PreconditionFailed", "PutObject")
            if expected := options.pop("IfMatch", None):
                if current is None:
                    raise refused("NoSuchKey", "PutObject")
                if current.etag != expected:
                    raise refused("PreconditionFailed", "PutObject")
            number = f"v{next(self._numbers)}" if Bucket in self._versioned else "null"
            version = _Version(number, Body, self.clock.now, options)
            self.bucket(Bucket).add(Key, version)
            return {"ETag": version.etag, "VersionId": number}

    def get_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:  # noqa: N803
        """Read an object."""
        with self._doing("GetObject"):
            versions = self.bucket(Bucket).versions.get(Key, [])
            if VersionId:
                found = next((one for one in versions if one.version_id == VersionId), None)
            else:
                found = self.bucket(Bucket).current(Key)
            if found is None:
                raise refused("NoSuchVersion" if VersionId else "NoSuchKey", "GetObject")
            return {
                "Body": io.BytesIO(found.body),
                "ETag": found.etag,
                "LastModified": found.stored_at,
                "ContentType": found.headers.get("ContentType", "binary/octet-stream"),
                "Metadata": found.headers.get("Metadata", {}),
            }

    def head_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> dict[str, Any]:  # noqa: N803
        """Describe an object."""
        self.calls["HeadObject"] += 1
        try:
            found = self.get_object(Bucket, Key, VersionId)
        except ClientError:
            raise refused("404", "HeadObject") from None
        return found | {"ContentLength": len(found.pop("Body").getvalue())}

    def generate_presigned_url(self, _operation: str, params: dict[str, str], ExpiresIn: int) -> str:  # noqa: N803
        """A URL that `PresignedS3` answers."""
        query = {"X-Amz-Date": f"{self.clock.now:%Y%m%dT%H%M%SZ}", "X-Amz-Expires": ExpiresIn}
        version = {"versionId": params["VersionId"]} if "VersionId" in params else {}
        return f"https://s3/{params['Bucket']}/{quote(params['Key'])}?{urlencode(query | version)}"

    def generate_presigned_post(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Conditions: list[Any],  # noqa: N803
        ExpiresIn: int,  # noqa: N803
    ) -> dict[str, Any]:
        """A form for any key under a prefix that `PresignedS3` takes."""
        expiration = self.clock.now + timedelta(seconds=ExpiresIn)
        place = [{"bucket": Bucket}, ["starts-with", "$key", Key.removesuffix("${filename}")]]
        policy = {"expiration": f"{expiration:%Y-%m-%dT%H:%M:%SZ}", "conditions": Conditions + place}
        fields = {"key": Key, "policy": base64.b64encode(json.dumps(policy).encode()).decode()}
        return {"url": f"https://s3/{Bucket}", "fields": fields}

    def delete_object(self, Bucket: str, Key: str) -> None:  # noqa: N803
        """Delete an object, leaving a marker where there are versions."""
        with self._doing("DeleteObject"):
            bucket = self.bucket(Bucket)
            if bucket.has_versions:
                marker = _Version(f"v{next(self._numbers)}", b"", self.clock.now, {}, is_marker=True)
                bucket.add(Key, marker)
            else:
                bucket.remove(Key, "null")

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Delete versions by their ids; in a bucket without versions the one there is."""
        with self._doing("DeleteObjects"):
            if not 0 < len(Delete["Objects"]) <= PAGE:
                raise refused("MalformedXML", "DeleteObjects")
            for one in Delete["Objects"]:
                self.bucket(Bucket).remove(one["Key"], one.get("VersionId", "null"))
            return {}

    def copy_object(self, Bucket: str, Key: str, CopySource: dict[str, str], CopySourceIfMatch: str) -> None:  # noqa: N803
        """Store an object with the content of another."""
        with self._doing("CopyObject"):
            source = self.bucket(CopySource["Bucket"]).current(CopySource["Key"])
            if source is None:
                raise refused("NoSuchKey", "CopyObject")
            if source.etag != CopySourceIfMatch:
                raise refused("PreconditionFailed", "CopyObject")
            self.bucket(Bucket).add(Key, _Version("null", source.body, self.clock.now, source.headers))

    def begin_upload(self, bucket: str, key: str) -> None:
        """Begin a multipart upload and forget it."""
        upload = {"Key": key, "UploadId": f"u{next(self._numbers)}", "Initiated": self.clock.now}
        self.uploads.setdefault(bucket, []).append(upload)

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str) -> None:  # noqa: N803
        """Throw the parts away."""
        with self._doing("AbortMultipartUpload"):
            kept = [one for one in self.uploads[Bucket] if (one["Key"], one["UploadId"]) != (Key, UploadId)]
            self.uploads[Bucket] = kept

    def get_paginator(self, operation: str) -> Any:
        """Pages of a listing."""
        return _Pages(getattr(self, f"_{operation}"))

    def _list_object_versions(self, Bucket: str, Prefix: str = "", Delimiter: str = "") -> Iterator[dict[str, Any]]:  # noqa: N803
        bucket = self.bucket(Bucket)
        if Delimiter:
            yield from self._folders(bucket, Prefix, Delimiter)
            return
        after, skipped = "", 0
        while True:
            with self._doing("ListObjectVersions"):
                page: dict[str, Any] = {"Versions": [], "DeleteMarkers": []}
                count = 0
                for key in bucket.under(Prefix, after):
                    for number, one in enumerate(bucket.versions[key]):
                        entry = {
                            "Key": key,
                            "VersionId": one.version_id,
                            "LastModified": one.stored_at,
                            "IsLatest": number == 0,
                        }
                        if one.is_marker:
                            page["DeleteMarkers"].append(entry)
                        else:
                            page["Versions"].append(entry | {"Size": len(one.body)})
                    after = key
                    count += len(bucket.versions[key])
                    if count >= PAGE:
                        break
                skipped = count
            yield page
            if skipped < PAGE:
                return

    def _folders(self, bucket: _Bucket, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        with self._doing("ListObjectVersions"):
            names: list[dict[str, str]] = []
            at = bisect_left(bucket.keys, prefix)
            while at < len(bucket.keys) and bucket.keys[at].startswith(prefix):
                head, found, _ = bucket.keys[at][len(prefix) :].partition(delimiter)
                if not found or bucket.keys[at] not in bucket.versions:
                    at += 1
                    continue
                names.append({"Prefix": prefix + head + delimiter})
                at = bisect_left(bucket.keys, prefix + head + chr(ord(delimiter) + 1))
        yield {"CommonPrefixes": names}

    def _list_objects_v2(self, Bucket: str, Prefix: str = "", StartAfter: str = "") -> Iterator[dict[str, Any]]:  # noqa: N803
        bucket = self.bucket(Bucket)
        found = (key for key in bucket.under(Prefix, StartAfter) if bucket.current(key))
        while True:
            with self._doing("ListObjectsV2"):
                contents = []
                for key in itertools.islice(found, PAGE):
                    current = bucket.current(key)
                    if current:
                        stored = {"LastModified": current.stored_at, "ETag": current.etag, "Size": len(current.body)}
                        contents.append({"Key": key} | stored)
            yield {"Contents": contents} if contents else {}
            if len(contents) < PAGE:
                return

    def _list_multipart_uploads(self, Bucket: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        with self._doing("ListMultipartUploads"):
            page = {"Uploads": list(self.uploads.get(Bucket, []))}
        yield page

    def _doing(self, operation: str) -> RLock:
        self.calls[operation] += 1
        self.before(operation)
        return self._lock


@dataclass
class _Pages:
    listing: Callable[..., Iterator[dict[str, Any]]]

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        """The pages of one listing."""
        return self.listing(**request)


class FakeTable:
    """A table of DynamoDB with the indexes `by_expiry` and `unsettled` and a stream of new images."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, Counter[str]()
        self.items: dict[str, dict[str, Any]] = {}
        self.stream: list[dict[str, Any]] = []
        self._index: dict[str, list[tuple[int, str]]] = {}
        self._unreported: set[str] = set()
        self._lock = RLock()
        self.meta = _Meta(self)

    def put_item(self, Item: dict[str, Any], ConditionExpression: ConditionBase | None = None) -> None:  # noqa: N803
        """Put an item, whatever there is, or under a condition."""
        with self._lock:
            if ConditionExpression and not holds(ConditionExpression, self.items.get(Item["image_id"], {}), {}, {}):
                raise refused("ConditionalCheckFailedException", "PutItem")
            self._write("PutItem", Item["image_id"], dict(Item))

    def get_item(self, Key: dict[str, str], **_: Any) -> dict[str, Any]:  # noqa: N803
        """Read an item."""
        self.calls["GetItem"] += 1
        item = self.items.get(Key["image_id"])
        return {"Item": dict(item)} if item is not None else {}

    def query(self, IndexName: str, KeyConditionExpression: ConditionBase, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Items of a shard up to a time."""
        self.calls["Query"] += 1
        shard, until = (one.get_expression()["values"][1] for one in KeyConditionExpression.get_expression()["values"])
        if IndexName == "unsettled":
            marked = [self.items[image_id] for image_id in self._unreported]
            shown = [one for one in marked if one["expiry_shard"] == shard and one["unsettled_since"] <= until]
            return {"Items": shown}
        assert IndexName == "by_expiry"
        index = self._index.get(shard, [])
        expired = index[: bisect_left(index, (until + 1, ""))]
        return {"Items": [dict(self.items[image_id]) for _, image_id in expired]}

    def batch_writer(self) -> Any:
        """Puts, one by one."""
        return _Writer(self)

    def update_item(
        self,
        Key: dict[str, str],  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ConditionExpression: ConditionBase | str,  # noqa: N803
        ExpressionAttributeValues: dict[str, Any] | None = None,  # noqa: N803
        ExpressionAttributeNames: dict[str, str] | None = None,  # noqa: N803
        ReturnValues: str = "ALL_NEW",  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        """SET and REMOVE attributes, or SET and ADD, under a condition."""
        with self._lock:
            item, names = dict(self.items.get(Key["image_id"], {})), ExpressionAttributeNames or {}
            values = ExpressionAttributeValues or {}
            if not holds(ConditionExpression, item, values, names):
                raise refused("ConditionalCheckFailedException", "UpdateItem")
            new: dict[str, Any] = item | Key
            rest, _sign, to_add = UpdateExpression.partition(" ADD ")
            to_set, _sign, to_remove = rest.partition("REMOVE ")
            for name in to_remove.split(", "):
                new.pop(name, None)
            for assignment in filter(None, re.split(r",\s*(?![^(]*\))", to_set.removeprefix("SET ").strip())):
                name, _sign, value = assignment.partition(" = ")
                new[names.get(name, name)] = _value(value, item, values)
            for name, value in (one.split() for one in filter(None, to_add.split(", "))):
                new[name] = item.get(name, 0) + values[value]
            self._write("UpdateItem", Key["image_id"], new)
            return {"Attributes": dict(new if ReturnValues == "ALL_NEW" else item)}

    def delete(self, image_id: str) -> None:
        """Delete an item as time to live does."""
        self._write("DeleteItem", image_id, None)

    def _write(self, operation: str, image_id: str, item: dict[str, Any] | None) -> None:
        with self._lock:
            self.calls[operation] += 1
            old = self.items.pop(image_id, None)
            self._unreported.discard(image_id)
            if old is not None:
                shard = self._index[old["expiry_shard"]]
                del shard[bisect_left(shard, (int(old["expires_at"]), image_id))]
            if item is not None:
                self.items[image_id] = item
                if "unsettled_since" in item:
                    self._unreported.add(image_id)
                insort(self._index.setdefault(item["expiry_shard"], []), (int(item["expires_at"]), image_id))
                if item != old:
                    self.stream.append(dict(item))


@dataclass
class _Writer:
    table: FakeTable

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put_item(self, Item: dict[str, Any]) -> None:  # noqa: N803
        """One of the batch."""
        self.table.put_item(Item)


class _Meta:
    """The client beneath a table."""

    def __init__(self, table: FakeTable) -> None:
        self.client, self._table = self, table

    def delete_item(
        self,
        TableName: str,  # noqa: ARG002, N803
        Key: dict[str, str],  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: dict[str, Any],  # noqa: N803
    ) -> None:
        """Delete an item under a condition."""
        with self._table._lock:
            item = self._table.items.get(Key["image_id"], {})
            if not holds(ConditionExpression, item, ExpressionAttributeValues, {}):
                raise refused("ConditionalCheckFailedException", "DeleteItem")
            self._table._write("DeleteItem", Key["image_id"], None)

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Read up to 100 items."""
        self._table.calls["BatchGetItem"] += 1
        ((name, request),) = RequestItems.items()
        ids = [key["image_id"] for key in request["Keys"]]
        assert len(set(ids)) == len(ids) <= 100
        found = [self._table.items[image_id] for image_id in ids if image_id in self._table.items]
        return {"Responses": {name: found}, "UnprocessedKeys": {}}


def holds(condition: ConditionBase | str, item: dict[str, Any], values: dict[str, Any], names: dict[str, str]) -> bool:
    """Whether a condition, one of boto3's or the text of one comparison, holds for an item."""
    if isinstance(condition, str):
        name, operator, value = condition.split(" ")
        left, right = item.get(names.get(name, name)), values[value]
        return left is not None and {"=": left == right, "<=": operator == "<=" and left <= right}[operator]
    expression = condition.get_expression()
    operands = expression["values"]
    match expression["operator"]:
        case "AND":
            return holds(operands[0], item, values, names) and holds(operands[1], item, values, names)
        case "OR":
            return holds(operands[0], item, values, names) or holds(operands[1], item, values, names)
        case "attribute_exists":
            return operands[0].name in item
        case "attribute_not_exists":
            return operands[0].name not in item
        case "=":
            return bool(item.get(operands[0].name) == operands[1])
        case "<>":
            return bool(item.get(operands[0].name) != operands[1])
        case "<=":
            return operands[0].name in item and bool(item[operands[0].name] <= operands[1])
        case ">":
            return operands[0].name in item and bool(item[operands[0].name] > operands[1])
        case unknown:
            raise NotImplementedError(unknown)


def _value(text: str, item: dict[str, Any], values: dict[str, Any]) -> Any:
    if " + " in text:
        left, right = text.split(" + ")
        return _value(left, item, values) + _value(right, item, values)
    if match := re.fullmatch(r"if_not_exists\((\w+), (:\w+)\)", text):
        return item.get(match[1], values[match[2]])
    return values[text]


class FakeGlue:
    """A client of Glue that knows partitions."""

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, ...], dict[str, Any]] = {}
        self.calls = Counter[str]()

    def batch_create_partition(self, PartitionInputList: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        """Add partitions; those that are there are fine."""
        self.calls["BatchCreatePartition"] += 1
        self.partitions = {tuple(one["Values"]): one for one in PartitionInputList} | self.partitions
        return {}

    def batch_update_partition(self, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:  # noqa: N803
        """Replace partitions that are there."""
        self.calls["BatchUpdatePartition"] += 1
        for one in Entries:
            assert tuple(one["PartitionValueList"]) in self.partitions
            self.partitions[tuple(one["PartitionValueList"])] = one["PartitionInput"]
        return {}

    def delete_partition(self, PartitionValues: list[str], **_: Any) -> None:  # noqa: N803
        """Forget a partition."""
        self.calls["DeletePartition"] += 1
        if tuple(PartitionValues) not in self.partitions:
            raise refused("EntityNotFoundException", "DeletePartition")
        del self.partitions[tuple(PartitionValues)]

    def get_partition(self, PartitionValues: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803
        """One partition."""
        self.calls["GetPartition"] += 1
        if tuple(PartitionValues) not in self.partitions:
            raise refused("EntityNotFoundException", "GetPartition")
        return {"Partition": self.partitions[tuple(PartitionValues)]}

    def get_paginator(self, _operation: str) -> _Pages:
        """Pages of partitions."""
        return _Pages(self._get_partitions)

    def _get_partitions(self, Expression: str = "", **_: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        self.calls["GetPartitions"] += 1
        until = re.search(r"<= '([^']+)'", Expression)
        found = [one for values, one in sorted(self.partitions.items()) if until is None or values[0] <= until[1]]
        yield {"Partitions": found}


@dataclass
class FakeScan:
    """A client of DynamoDB for the auditor: pages of typed items."""

    table: FakeTable

    def get_paginator(self, _operation: str) -> _Pages:
        """Pages of a scan."""
        return _Pages(self._scan)

    def _scan(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"Items": [self._typed(item) for item in list(self.table.items.values())]}

    @staticmethod
    def _typed(item: dict[str, Any]) -> dict[str, Any]:
        texts = (
            *("image_id", "status", "received_at", "expiry_shard", "ingest_date", "hour"),
            *("processed_at", "unsettled_since", "reported_at", "erased_at", "returned_at"),
        )
        typed: dict[str, Any] = {name: {"S": item[name]} for name in texts if name in item}
        if "expires_at" in item:
            typed["expires_at"] = {"N": str(item["expires_at"])}
        if "derivatives" in item:
            typed["derivatives"] = {"L": [{"M": {}} for _ in item["derivatives"]]}
        return typed


@dataclass
class FakeQueue:
    """A client of SQS."""

    sent: list[dict[str, str]] = field(default_factory=list)

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:  # noqa: ARG002, N803
        """Keep a message."""
        self.sent.append(json.loads(MessageBody))


@dataclass
class FakeEvents:
    """A client of EventBridge: the events that were put, by their types, with their details."""

    put: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        """Keep events."""
        self.put += [(entry["DetailType"], json.loads(entry["Detail"])) for entry in Entries]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "of a stand-in"} for _ in Entries]}
