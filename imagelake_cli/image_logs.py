"""What was logged about one image, across all log groups of a stack: the place that asks CloudWatch Logs."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

LONGEST: Final = timedelta(days=18)
"""Logs are kept for 14 days at most, and CloudWatch deletes up to three later."""
EARLIER: Final = timedelta(minutes=5)
"""Clocks differ, and the request for an upload comes before the image_id's own time by some milliseconds."""
AROUND: Final = timedelta(minutes=16)
"""How far the first and the last line of an invocation can be apart: a function may run for 15 minutes."""
AT_ONCE: Final = 4
"""Groups that are asked side by side; AWS answers 5 to 10 such requests a second."""
MOST_REQUESTS: Final = 100
"""Invocations of one group that are followed."""
_WITH_TIME: Final = 7
"""The version of a UUID that begins with its time."""


@dataclass(frozen=True)
class Line:
    """A line of a log. `content` is an object where the line is one in JSON, else its text."""

    at: datetime
    source: str
    stream: str
    text: str

    @property
    def content(self) -> Any:
        """The line as it was meant."""
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text.rstrip("\n")


@dataclass(frozen=True)
class ImageLogs:
    """The log groups of a stack, by what writes into them."""

    client: "CloudWatchLogsClient"
    groups: Mapping[str, str]

    def of(self, image_id: UUID, now: datetime) -> list[Line]:
        """What names the image, and the other lines of the same invocations and executions, by time.

        A line of such an invocation that is about other images is left out.

        Raises:
            ClientError, BotoCoreError: AWS refused, or could not be asked.
        """
        name = str(image_id)
        begin = max(_made_at(image_id) - EARLIER, now - LONGEST)
        named = self._each(lambda source: self._find(source, name, begin, now), self.groups)
        followed = [*_invocations(named), *_executions(named, self.groups)]
        others = self._each(lambda one: self._find(one[0], one[1], one[2] - AROUND, one[2] + AROUND), followed)
        about = [line for line in others if not _is_of_others(line.content, name)]
        # Lines of one moment stay in the order of their stream.
        return sorted(dict.fromkeys([*about, *named]), key=lambda line: (line.at, line.source))

    def _each[T](self, find: Callable[[T], list[Line]], what: Iterable[T]) -> list[Line]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [line for lines in pool.map(find, what) for line in lines]

    def _find(self, source: str, text: str, begin: datetime, end: datetime) -> list[Line]:
        pages = self.client.get_paginator("filter_log_events").paginate(
            logGroupName=self.groups[source],
            filterPattern=f'"{text}"',
            startTime=_milliseconds(begin),
            endTime=_milliseconds(end),
        )
        return [
            Line(datetime.fromtimestamp(one["timestamp"] / 1000, UTC), source, one["logStreamName"], one["message"])
            for page in pages
            for one in page["events"]
        ]


def _made_at(image_id: UUID) -> datetime:
    """When it was made; the image_id of a Kafka record has no time in it, and could be of any."""
    if image_id.version != _WITH_TIME:
        return datetime.fromtimestamp(EARLIER.total_seconds(), UTC)
    return datetime.fromtimestamp((image_id.int >> 80) / 1000, UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _invocations(lines: Iterable[Line]) -> Iterator[tuple[str, str, datetime]]:
    """Log group, id and time of each invocation that named the image."""
    found: dict[str, dict[str, datetime]] = {}
    for line in lines:
        match line.content:
            case {"function_request_id": str(request)}:
                found.setdefault(line.source, {}).setdefault(request, line.at)
    for source, requests in found.items():
        yield from ((source, request, at) for request, at in list(requests.items())[:MOST_REQUESTS])


def _executions(lines: Iterable[Line], groups: Mapping[str, str]) -> Iterator[tuple[str, str, datetime]]:
    """The same of executions of the workflow, whose own log names no image."""
    found: dict[str, datetime] = {}
    for line in lines:
        match line.content:
            case {"execution": str(arn)}:
                found.setdefault(arn, line.at)
    for source in groups:
        if "IngestImage" in source:
            yield from ((source, arn, at) for arn, at in list(found.items())[:MOST_REQUESTS])


def _is_of_others(content: Any, image_id: str) -> bool:
    match content:
        case {"image_id": str(other)}:
            return other != image_id
        case {"key": str(key)}:
            return image_id not in key
    return False
