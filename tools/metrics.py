"""Writes the tables of `docs/metrics.md` from the registry of metrics, and prints what the metrics cost.

    python -m tools.metrics [--check]

With `--check` it compares instead of writing.
"""

import sys
from collections.abc import Iterable
from typing import Final

from imagelake import metrics
from local.emulator import ROOT

PAGE: Final = ROOT / "docs" / "metrics.md"
DOLLARS: Final = 0.30
"""A metric and month, of the first 10,000 of an account: https://aws.amazon.com/cloudwatch/pricing/."""
_BEGIN: Final = "<!-- written by make metrics: {} -->"
_END: Final = "<!-- end -->"


def bill() -> str:
    """How many metrics CloudWatch bills for a stack that emits all of them, and what it takes for them."""
    count = sum(one.billed for one in metrics.OWN)
    return f"{count} metrics of the lake's own, at most ${count * DOLLARS:.2f} a month"


def page(text: str) -> str:
    """The page `text` with its tables as the registry has them."""
    own = [
        (f"`{one.name}`", one.unit, _dimensions(one), one.meaning, ", ".join(f"`{by}`" for by in one.emitted_by))
        if one.emitted_by != metrics.EVERY_FUNCTION
        else (f"`{one.name}`", one.unit, _dimensions(one), one.meaning, one.emitted_by[0])
        for one in metrics.OWN
    ]
    aws = [
        (f"`{one.namespace}`", f"`{one.name}`", one.unit, ", ".join(one.dimensions) or "none", one.meaning)
        for one in metrics.AWS
    ]
    text = _replaced(text, "bill", [f"{bill()}."])
    text = _replaced(text, "own", _table(("Metric", "Unit", "Billed as", "Means", "Emitted by"), own))
    return _replaced(text, "aws", _table(("Namespace", "Metric", "Unit", "Dimensions", "Means"), aws))


def _dimensions(metric: metrics.Metric) -> str:
    return f"{metric.billed}, by `{metric.by}`" if metric.by else "1"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def _replaced(text: str, name: str, lines: list[str]) -> str:
    before, begin, rest = text.partition(_BEGIN.format(name))
    if not begin:
        raise ValueError(f"{PAGE.relative_to(ROOT)} has no place for {name}")
    return "\n".join([before + begin, "", *lines, "", _END]) + rest.partition(_END)[2]


def main(arguments: list[str]) -> int:
    """Write the page and print the bill, or say that the page is not as it would be written."""
    written = PAGE.read_text(encoding="utf-8")
    if "--check" not in arguments:
        PAGE.write_text(page(written), encoding="utf-8")
        print(bill())
    elif page(written) != written:
        print(f"{PAGE.relative_to(ROOT)}: not as written by make metrics")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
