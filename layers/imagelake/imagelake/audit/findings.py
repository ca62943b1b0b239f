"""What an audit finds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

MOST_NAMED: Final = 20
"""How many of a finding's objects the report names; it counts them all."""

type Kind = Literal["overdue", "early", "misplaced", "late", "incomplete", "configuration", "altered"]
"""`overdue`: still there. `early`: gone, or deleted, before its days were over. `misplaced`: where no purge would find
it, or malformed. `late`: deleted, but after the promised time. `incomplete`: something that lacks its counterpart, or
could not be looked into. `configuration`: a setting that keeps more than was promised, or less. `altered`: evidence
that was overwritten or hidden."""


@dataclass
class Finding:
    """Something that is not as promised, in one place: how many, and some of them by name."""

    kind: Kind
    place: str
    what: str
    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass
class Place:
    """What one place holds: `oldest` is the age of the oldest image or row there, since its arrival."""

    name: str
    objects: int = 0
    bytes: int = 0
    oldest: timedelta = timedelta(0)

    @property
    def oldest_age_hours(self) -> float:
        """The same in hours."""
        return self.oldest / timedelta(hours=1)


@dataclass
class Audit:
    """The result of one audit."""

    as_of: datetime
    retention_days: int
    places: dict[str, Place] = field(default_factory=dict)
    findings: dict[tuple[Kind, str, str], Finding] = field(default_factory=dict)

    @property
    def retention(self) -> timedelta:
        """How long an image is kept."""
        return timedelta(days=self.retention_days)

    @property
    def overdue(self) -> int:
        """How much is still there that should be gone, or was deleted later than promised."""
        return self._count("overdue", "late")

    @property
    def early(self) -> int:
        """How much was deleted too early."""
        return self._count("early")

    @property
    def other(self) -> int:
        """How much is misplaced, incomplete, altered or configured otherwise."""
        return self._count("misplaced", "incomplete", "configuration", "altered")

    @property
    def oldest_age_hours(self) -> float:
        """Age of the oldest image or row anywhere, in hours since its arrival."""
        return max((place.oldest_age_hours for place in self.places.values()), default=0.0)

    def place(self, name: str) -> Place:
        """The figures of a place."""
        return self.places.setdefault(name, Place(name))

    def report(self, kind: Kind, place: str, what: str, name: str, count: int = 1) -> None:
        """Note that `name` is not as promised."""
        finding = self.findings.setdefault((kind, place, what), Finding(kind, place, what))
        finding.count += count
        if len(finding.names) < MOST_NAMED:
            finding.names.append(name)

    def report_all(self, kind: Kind, place: str, what: str, names: Iterable[str]) -> None:
        """Note that each of `names` is not as promised."""
        for name in sorted(names):
            self.report(kind, place, what, name)

    def _count(self, *kinds: Kind) -> int:
        return sum(finding.count for finding in self.findings.values() if finding.kind in kinds)
