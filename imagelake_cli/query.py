"""`imagelake query`: ask the lake in SQL, on AWS or on this machine."""

import shutil
import sys
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, TextIO

import sqlglot
import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.filesize import decimal

from imagelake_cli import connection, formats, options, plot
from imagelake_cli.athena import Answer, Column, NamedQuery, QueryError, WorkGroup
from imagelake_cli.failures import explained
from imagelake_cli.formats import Format, FormatError
from imagelake_cli.plot import PlotError
from imagelake_cli.progress import note

_REFUSALS: Final = (connection.NoLakeError, QueryError, FormatError, PlotError, BotoCoreError, ClientError, OSError)


def query(
    sql: Annotated[
        str | None, typer.Argument(help="One statement; - reads it from standard input.", show_default=False)
    ] = None,
    file: Annotated[
        typer.FileText | None, typer.Option("--file", "-f", help="A file with the statement; - is standard input.")
    ] = None,
    named: Annotated[str | None, typer.Option("--named", "-n", help="A named query; --list lists them.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the named queries and what they answer.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the SQL of a named query instead of running it.")] = False,
    dialect: Annotated[
        str, typer.Option("--dialect", help="What --show prints: athena, redshift, duckdb or what else sqlglot knows.")
    ] = "athena",
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="By default what the name of OUTPUT ends in, else a table on a terminal and CSV in a pipe."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file for the answer or the plot.")
    ] = None,
    plotted: Annotated[bool, typer.Option("--plot", help="Plot over the first column: here, or into a .png.")] = False,
    role: Annotated[
        str | None, typer.Option("--as", help="A role of governance/grants.yaml to ask as, such as LakeAnalyst.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Rows at most; by default all.")] = None,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Ask the lake in SQL, and print or keep the answer.

    JSON is one object a row and line. Only the answer goes to standard output.
    """
    if as_json:
        if format_ not in (None, Format.JSON):
            raise typer.BadParameter("goes without --format", param_hint="--json")
        format_ = Format.JSON
    if [sql is not None, file is not None, named is not None, list_].count(True) != 1:
        raise typer.BadParameter("give one of a statement, --file, --named and --list")
    if show and named is None:
        raise typer.BadParameter("needs --named", param_hint="--show")
    if not dialect:
        raise typer.BadParameter("needs a name", param_hint="--dialect")
    if output and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    if plotted and (list_ or format_ or (output and output.suffix != ".png")):
        raise typer.BadParameter("plots here, or into a picture with --output FILE.png", param_hint="--plot")
    form = Format.TABLE if plotted else _format(format_, output)
    with explained(*_REFUSALS):
        group = connection.work_group(stack, region, profile, role)
        if list_:
            _write(_listed(group), form, output)
        elif named is not None and show:
            typer.echo(_translated(_find(group, named).sql, dialect))
        else:
            statement = _find(group, named).sql if named else _read(file) if file else sql or ""
            if statement == "-":
                statement = _read(sys.stdin)
            if not statement.strip():
                raise typer.BadParameter("there is nothing in the statement")
            answer = _ask(group, statement, limit)
            if plotted:
                _plot(answer, output)
            else:
                _write(answer, form, output)
            _summarise(answer)


def _format(wanted: Format | None, output: Path | None) -> Format:
    if output and not wanted:
        if (suffix := output.suffix.removeprefix(".")) not in set(Format):
            raise typer.BadParameter("is not called .csv, .json or .parquet: give --format", param_hint="--output")
        wanted = Format(suffix)
    if wanted is Format.PARQUET and not output:
        raise typer.BadParameter("parquet needs --output FILE", param_hint="--format")
    return wanted or (Format.TABLE if sys.stdout.isatty() else Format.CSV)


def _listed(group: WorkGroup) -> Answer:
    columns = [Column("name", "varchar"), Column("question", "varchar")]
    return Answer(columns, [[query.name, query.question] for query in group.named_queries().values()])


def _find(group: WorkGroup, name: str) -> NamedQuery:
    queries = group.named_queries()
    if name in queries:
        return queries[name]
    near = get_close_matches(name, queries)
    told = f"Near to it: {', '.join(near)}." if near else f"There are {', '.join(queries)}."
    raise QueryError(f"There is no named query {name}. {told}")


def _read(file: TextIO) -> str:
    try:
        return file.read()
    except UnicodeDecodeError:
        raise QueryError(f"{file.name}: is not text in UTF-8.") from None


def _translated(sql: str, dialect: str) -> str:
    """The statement as it is, or in another dialect."""
    if dialect == "athena":
        return sql.strip()
    try:
        [translated] = sqlglot.transpile(sql, read="athena", write=dialect, pretty=True)
    except ValueError as error:
        raise QueryError(str(error)) from error
    return translated


def _ask(group: WorkGroup, sql: str, limit: int | None) -> Answer:
    with Console(stderr=True).status("starting") as status:
        return group.ask(sql, limit, lambda state, seconds: status.update(f"{state.lower()}, {seconds:.0f} s"))


def _write(answer: Answer, form: Format, output: Path | None) -> None:
    if form is Format.PARQUET and output:
        formats.write_parquet(answer, output)
        return
    with output.open("w", encoding="utf-8") if output else nullcontext(sys.stdout) as file:
        if form is Format.TABLE:
            formats.print_table(formats.table(answer), file)
        elif form is Format.CSV:
            formats.write_csv(answer, file)
        else:
            formats.write_json(answer, file)


def _plot(answer: Answer, output: Path | None) -> None:
    split = plot.split(answer)
    if output:
        output.write_bytes(plot.to_png(split))
    else:
        for panel in plot.in_terminal(split, shutil.get_terminal_size().columns, sys.stdout.isatty()):
            typer.echo(panel)


def _summarise(answer: Answer) -> None:
    rows = formats.counted(len(answer.rows), "row")
    cut = ", cut by --limit" if answer.is_cut else ""
    text = f"{rows}{cut}; {decimal(answer.scanned_bytes)} scanned in {answer.seconds:.1f} s"
    note(text)
