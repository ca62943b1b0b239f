"""What goes wrong between the parts of a deployed stack, drawn from a seed, and the ledger of what did.

A point is a place where something can go wrong, such as `workflow Close image` or `sdk write_catalog s3 PUT`. What
happens at the n-th call of a point follows from the seed, the point and n alone. So a run with the same seed has the
same faults at the same points, whichever image comes there n-th.
"""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self


class Kind(StrEnum):
    """What goes wrong."""

    REFUSED = "refused"
    THROTTLED = "throttled"
    SLOWED = "slowed"
    CUT = "cut"
    ANSWER_LOST = "answer lost"
    """The work is done."""
    DIED_BEFORE = "died before"
    DIED_AFTER = "died after"
    KILLED = "killed"
    DROPPED = "dropped"
    DOUBLED = "doubled"
    DELAYED = "delayed"
    """So that others overtake it."""


_CALL: Final = (Kind.REFUSED, Kind.THROTTLED, Kind.SLOWED, Kind.CUT, Kind.ANSWER_LOST, Kind.ANSWER_LOST)
KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "workflow": (*_CALL, Kind.DIED_BEFORE, Kind.DIED_AFTER),
    "sdk": _CALL,
    "door": _CALL,
    "event": (Kind.DROPPED, Kind.DOUBLED, Kind.DELAYED),
    "stream": (Kind.REFUSED, Kind.THROTTLED, Kind.ANSWER_LOST, Kind.DOUBLED),
    "worker": (Kind.KILLED,),
}
"""What can go wrong at which points, by the first word of their names; what is named twice comes twice as often."""
STUBBORN_TRIES: Final = 8
"""How often a fault that does not go away comes back: more often than any state of the workflow tries."""


@dataclass(frozen=True)
class Plan:
    """How much goes wrong.

    Args:
        seed: of all that is drawn.
        rates: how likely a fault is at a call, by the first word of its point.
        stubborn: how many of the faults of the workflow meet all tries of a state.
    """

    seed: int
    rates: Mapping[str, float]
    stubborn: float = 0.0

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """A plan as `dataclasses.asdict` gives it."""
        return cls(**document)


@dataclass
class Fault:
    """What goes wrong at one call, and `chance` for what else there is to draw."""

    kind: Kind
    chance: random.Random
    tries: int = 1


@dataclass
class Injection:
    """A plan at work, and what has come of it. May be used from several threads."""

    plan: Plan
    calls: Counter[str] = field(default_factory=Counter)
    ledger: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    _waiting: dict[tuple[str, str], Fault | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, point: str, subject: str | None = None) -> Fault | None:
        """What goes wrong at the next call of a point, if anything does.

        Args:
            point: the place.
            subject: what is tried again there, as an execution of a workflow tries its states; a fault is drawn at its
                first try, and comes back at the next for as many `tries` as it has.
        """
        with self._lock:
            if subject is None:
                return self._drawn(point)
            if (point, subject) not in self._waiting:
                self._waiting[point, subject] = self._drawn(point)
            fault = self._waiting[point, subject]
            return fault if fault and fault.tries else None

    def count(self, point: str, fault: Fault) -> None:
        """Note that a fault is injected now, which is one of its tries."""
        with self._lock:
            fault.tries -= 1
            self.ledger[point, fault.kind] += 1

    def report(self) -> dict[str, Any]:
        """The plan and all that was injected, for people and programs."""
        with self._lock:
            kinds: Counter[str] = Counter()
            for (point, kind), number in self.ledger.items():
                kinds[f"{point.partition(' ')[0]} {kind}"] += number
            return {
                "plan": asdict(self.plan),
                "injected": dict(sorted(kinds.items())),
                "points": {f"{point}: {kind}": number for (point, kind), number in sorted(self.ledger.items())},
                "calls": sum(self.calls.values()),
            }

    def _drawn(self, point: str) -> Fault | None:
        self.calls[point] += 1
        kind = point.partition(" ")[0]
        chance = random.Random(f"{self.plan.seed} {point} {self.calls[point]}")  # noqa: S311  # no secret
        if chance.random() >= self.plan.rates.get(kind, 0.0):
            return None
        fault = Fault(chance.choice(KINDS[kind]), chance)
        if kind == "workflow" and fault.kind in (Kind.REFUSED, Kind.CUT, Kind.ANSWER_LOST):
            fault.tries = STUBBORN_TRIES if chance.random() < self.plan.stubborn else 1
        return fault
