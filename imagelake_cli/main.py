"""The command `imagelake`: one command, or group of commands, a module."""

import typer

from imagelake_cli import access, catalog, dead_letters, events, retention, script, users
from imagelake_cli.dashboard import dashboard
from imagelake_cli.doctor import doctor
from imagelake_cli.images import erase, images, status
from imagelake_cli.logs import logs
from imagelake_cli.options import example
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
app.add_typer(access.app, name="access")
_IMAGE_ID = "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"
app.command(epilog=example("imagelake upload photos --tag site=north --wait"))(upload)
app.command(epilog=example(f"imagelake status {_IMAGE_ID}"))(status)
app.command(epilog=example("imagelake images --status rejected --from 2h"))(images)
app.command(epilog=example(f"imagelake erase {_IMAGE_ID} --reason data_subject_request"))(erase)
app.command(epilog=example("imagelake redrive --hour 2026-11-22T09 --code script_error --dry-run"))(redrive)
app.command(epilog=example(f"imagelake logs {_IMAGE_ID} --stack image-lake"))(logs)
app.command(epilog=example("imagelake query --named arrivals --plot"))(query)
app.command(epilog=example("imagelake dashboard --stack image-lake"))(dashboard)
app.command(epilog=example("imagelake doctor --stack image-lake"))(doctor)


@app.callback()
def main() -> None:
    """Image Lake: images in, processed by provided scripts, kept for seven days, answered in SQL."""


if __name__ == "__main__":
    app()
