"""`python -m tools.dashboard`: the dashboard on this machine, drawn from the same SQL."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image

from imagelake_cli.athena import QueryError
from local import lake
from local.emulator import ROOT
from tools import sql
from tools.dashboard import answers, charts, definition, sample_week
from tools.dashboard.answers import Rows
from tools.dashboard.definition import Dashboard

FOLDER: Final = ROOT / ".local" / "dashboard"


def main(
    folder: Annotated[Path, typer.Option(help="Where to draw it.")] = FOLDER,
    of_lake: Annotated[bool, typer.Option("--lake", help="Draw the lake that `make run` keeps running.")] = False,
) -> None:
    """Draw the dashboard: one page that needs nothing but a browser, a picture of it, and one of each chart."""
    queries = answers.queries()
    dashboard = definition.read(queries)
    answered = _of_lake(dashboard) if of_lake else _of_a_week(dashboard)
    folder.mkdir(parents=True, exist_ok=True)
    page = charts.draw(dashboard, queries, answered)
    page.save(folder / "dashboard.html", inline=True)
    page.save(folder / "dashboard.png", scale_factor=1.5)
    _reduce(folder / "dashboard.png")
    for chart in dashboard.charts:
        drawing = charts.draw_chart(chart, queries[chart.query], answered[chart.query])
        drawing.save(folder / f"{chart.id}.png")
    print(f"{folder}/dashboard.html, dashboard.png and {len(dashboard.charts)} charts")


def _of_lake(dashboard: Dashboard) -> dict[str, Rows]:
    try:
        running = lake.running_elsewhere()
        queries = {chart.query for chart in dashboard.charts}
        return {query: answers.ask_lake(running, sql.named(query)[1]) for query in queries}
    except FileNotFoundError:
        raise typer.BadParameter("no lake is running: start one with `make run`") from None
    except (QueryError, BotoCoreError, ClientError) as error:
        typer.echo(f"The lake did not answer: {error}", err=True)
        raise typer.Exit(1) from None


def _of_a_week(dashboard: Dashboard) -> dict[str, Rows]:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with answers.catalog_of(sample_week.records(now)) as catalog:
        return {query: catalog.ask(sql.named(query)[1]) for query in {chart.query for chart in dashboard.charts}}


def _reduce(picture: Path) -> None:
    """Write a picture anew with 64 colours, which its charts hardly exceed: a fifth of the bytes."""
    with Image.open(picture) as drawn:
        reduced = drawn.convert("RGB").quantize(64)
    reduced.save(picture, optimize=True)


if __name__ == "__main__":
    typer.run(main)
