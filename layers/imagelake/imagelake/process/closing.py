"""After the engine: its answer is checked as if an attacker had written it, and becomes the item of the image.

Everything that says whose image it is, when it came and how long it stays is trusted facts; the answer cannot reach
them. An answer that no honest engine gives is a rejection with a code of its own, so it is seen and ends once. An
object that the answer speaks of and that is not there is a fault: an erasure or a purge may have been quicker.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from imagelake.engine.contract import MAX_ANSWER_BYTES, EngineAnswer, MadeDerivative, Processed, Rejected
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.engine.scripts.metadata import to_json
from imagelake.engine.scripts.result import CONTENT_TYPES
from imagelake.errors import Fault, Rejection
from imagelake.model import CONTENT_TYPES as ACCEPTED
from imagelake.model import HEIF_CONTENT_TYPES, Derivative, ImageRecord
from imagelake.process.facts import ImageFacts, Ordered
from imagelake.stores.buckets import Bucket
from imagelake.stores.images_table import serialize

FORMATS: Final = frozenset({*ACCEPTED.values(), *HEIF_CONTENT_TYPES.values()})

OF_THE_WORKFLOW: Final = frozenset({"opened_at", "attempts", "has_task", "by_task", "ordered"})
"""Facts that are no columns."""

_ANSWER: TypeAdapter[EngineAnswer] = TypeAdapter(EngineAnswer)


class EngineAnswered(BaseModel):
    """The facts of an image, and what the engine said of it; of a large image the task has stored what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    facts: ImageFacts
    answer: Any = None


class Closed(BaseModel):
    """The item to catalog, in DynamoDB's JSON, and of a rejected image why."""

    model_config = ConfigDict(frozen=True)

    outcome: Literal["processed", "rejected"]
    item: dict[str, Any]
    reason: str | None = None


@dataclass(frozen=True)
class Closing:
    """Where what the engine made is."""

    lake_bucket: Bucket

    def close(self, answered: EngineAnswered) -> tuple[Closed, EngineAnswer | None]:
        """Make an item of what is known and what can be believed.

        Returns:
            The item, and the answer, unless it was not believed.

        Raises:
            Fault: what the engine says it has stored is not there, S3 did not answer, or denied access.
        """
        facts = answered.facts
        try:
            ordered, answer = self._answer(answered)
            outcome, measured = self._check(facts, ordered, answer)
        except Rejection as disbelief:
            return _closed(facts, "rejected", {"reason": str(disbelief)}), None
        return _closed(facts, outcome, measured), answer

    def _answer(self, answered: EngineAnswered) -> tuple[Ordered, EngineAnswer]:
        """What was asked for, and the answer to it."""
        ordered = answered.facts.ordered
        try:
            if ordered:
                return ordered, _ANSWER.validate_json(json.dumps(answered.answer))
            text, metadata = self._result(answered.facts.version.result)
            return Ordered.model_validate_json(metadata.get(Ordered.METADATA, "")), _ANSWER.validate_json(text)
        except (ValueError, RecursionError):  # nested deeper than JSON is written or read
            raise _disbelieved("it does not have the form of one") from None

    def _result(self, place: str) -> tuple[bytes, dict[str, str]]:
        measured = self.lake_bucket.measure(place)
        if measured.bytes > MAX_ANSWER_BYTES:
            raise _disbelieved("the task has stored one that is too large")
        stored = self.lake_bucket.read(place)
        if stored is None:
            raise Fault("NoSuchKey on GetObject", "NoSuchKey")
        return stored[0], measured.metadata

    def _check(
        self, facts: ImageFacts, ordered: Ordered, answer: EngineAnswer
    ) -> tuple[Literal["processed", "rejected"], dict[str, Any]]:
        """The columns that are believed.

        Raises:
            Rejection: no honest engine says this of this image.
        """
        match answer:
            case Rejected():
                sha256 = {"sha256": answer.sha256} if answer.sha256 else {}
                return "rejected", sha256 | _scripts(ordered, answer) | {"reason": f"{answer.code}: {answer.detail}"}
            case Processed():
                return "processed", self._processed(facts, ordered, answer)
            case _:
                raise _disbelieved("it leaves the image to a task that there is not, or that has given it back")

    def _processed(self, facts: ImageFacts, ordered: Ordered, answer: Processed) -> dict[str, Any]:
        limits = ordered.limits
        if answer.bytes != facts.bytes or facts.sha256 not in (None, answer.sha256):
            raise _disbelieved("it is of other bytes")
        if answer.header.format not in FORMATS or max(answer.header.width, answer.header.height) > limits.max_side:
            raise _disbelieved("it describes an image that is not accepted")
        return {
            "sha256": answer.sha256,
            **_scripts(ordered, answer),
            **_columns(answer, ordered),
            "derivatives": self._derivatives(facts, answer.derivatives, limits),
        }

    def _derivatives(self, facts: ImageFacts, made: Sequence[MadeDerivative], limits: Limits) -> list[Derivative]:
        names = {one.name for one in made}
        if (
            not len(names) == len(made) <= limits.max_derivatives
            or sum(one.bytes for one in made) > limits.max_output_bytes
            or any(max(one.width, one.height) > limits.max_side for one in made)
        ):
            raise _disbelieved("its derivatives are over the limits")
        found = []
        for one in made:
            key, content_type = facts.version.derived(one.name, one.extension), CONTENT_TYPES[one.extension]
            stored = self.lake_bucket.measure(key)
            if (stored.bytes, stored.content_type) != (one.bytes, content_type):
                raise _disbelieved("a derivative is not stored as it says")
            found.append(
                Derivative(
                    key=key,
                    name=one.name,
                    width=one.width,
                    height=one.height,
                    content_type=content_type,
                    sha256=one.sha256,
                )
            )
        return found


def _scripts(ordered: Ordered, answer: Processed | Rejected) -> dict[str, str]:
    if answer.script_version.count(",") + 1 != len(ordered.scripts):
        raise _disbelieved("it is of other scripts")
    return {"script": ",".join(ordered.scripts), "script_version": answer.script_version}


def _columns(answer: Processed, ordered: Ordered) -> dict[str, Any]:
    columns = answer.header.model_dump(mode="json") | answer.columns.model_dump(mode="json", exclude_none=True)
    try:
        output = json.dumps(to_json(answer.script_output, "script_output"), allow_nan=False)
        is_possible = (
            answer.script_output.keys() <= set(ordered.scripts)
            and len(json.dumps([columns, output])) <= ordered.limits.max_catalog_bytes
        )
    except (Rejection, ValueError):
        is_possible = False
    if not is_possible:
        raise _disbelieved("what its scripts say is over the limits")
    return {**columns, "script_output": output}


def _closed(facts: ImageFacts, status: Literal["processed", "rejected"], measured: dict[str, Any]) -> Closed:
    known = facts.model_dump(exclude={*OF_THE_WORKFLOW, "version_id", "sha256"})
    trusted = known | {"status": status, "processed_at": datetime.now(UTC)}
    record = ImageRecord.model_validate(measured | trusted)
    item = record.to_item() | {"version_id": facts.version_id}
    item |= {"attempts": facts.attempts} if facts.attempts else {}
    return Closed(outcome=status, item=serialize(item), reason=record.reason)


def _disbelieved(why: str) -> Rejection:
    return Rejection(Reason.ENGINE_ANSWER_INVALID, f"the engine's answer is not believed: {why}")
