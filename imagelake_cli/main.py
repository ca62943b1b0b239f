"""The command `imagelake`: one command, or group of commands, a module."""

import typer

from imagelake_cli import catalog, dead_letters, events, retention, script, users
from imagelake_cli.dashboard import dashboard
from imagelake_cli.doctor import doctor
from imagelake_cli.images import erase, images, status
from imagelake_cli.logs import logs
from imagelake_cli.query import query
from imagelake_cli.redrive import redrive
from imagelake_cli.upload import upload

app = typer.Typer(
    help="Image Lake: images in, processed by provided scripts, kept for seven days, answered in SQL.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
)
app.add_typer(script.app, name="script")
app.add_typer(catalog.app, name="catalog")
app.add_typer(events.app, name="events")
app.add_typer(users.app, name="users")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(retention.app, name="retention")
app.command()(upload)
app.command()(status)
app.command()(images)
app.command()(erase)
app.command()(redrive)
app.command()(logs)
app.command()(query)
app.command()(dashboard)
app.command()(doctor)


@app.callback()
def main() -> None:
    """Image Lake: images in, processed by provided scripts, kept for seven days, answered in SQL."""


if __name__ == "__main__":
    app()
