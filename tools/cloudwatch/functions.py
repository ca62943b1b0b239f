"""Panels about functions, which both dashboards have."""

from imagelake import metrics
from tools.cloudwatch import templates
from tools.cloudwatch.panels import OTHERS, Line, Mark, Math, Panel


def errors(logical_ids: tuple[str, ...], period: int) -> Panel:
    """Which functions fail."""
    lines = tuple(
        Line(metrics.FUNCTION_ERRORS, short(one), of=named(one), colour=colour)
        for one, colour in zip(logical_ids, OTHERS, strict=False)
    )
    return Panel("Which functions fail?", lines, "invocations", stacked=True, period=period)


def time_limits(logical_ids: tuple[str, ...], period: int) -> Panel:
    """How near functions come to the time they may take."""
    lines: list[Line | Math] = []
    for number, (one, colour) in enumerate(zip(logical_ids, OTHERS, strict=False)):
        of = named(one)
        lines.append(Line(metrics.FUNCTION_DURATION, "", "Maximum", of, id=f"t{number}", is_shown=False))
        limit = templates.seconds(one)
        lines.append(Math(f"t{number} / {limit * 10}", f"{short(one)}, of {limit} s", colour, f"p{number}"))
    title = "How near do functions come to their time limit?"
    return Panel(title, tuple(lines), "% of it, slowest call", period=period, marks=(Mark(100, "ended by Lambda"),))


def named(function: str) -> dict[str, str]:
    """The dimension of a function's metrics, by its logical id."""
    return {"FunctionName": f"${{{function}}}"}


def short(function: str) -> str:
    """What its folder is called."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in function)
    return words.removeprefix("_").removesuffix("_function")
