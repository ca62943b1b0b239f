"""`imagelake script`: write a provided script, check it, and run it on images here, with the engine of the cloud."""

import json
import keyword
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from imagelake import pipelines
from imagelake.engine.limits import Limits
from imagelake.engine.runner import RunRejection, Script, ScriptResult, available_scripts, run_scripts, stop
from imagelake.errors import Fault
from imagelake_cli import check_pictures, script_template
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import print_table
from imagelake_cli.options import example
from imagelake_cli.progress import bar

app = typer.Typer(help="Write, check and run provided scripts.", no_args_is_help=True)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

ScriptsArgument = Annotated[
    str,
    typer.Argument(help="A script's file, or the names of provided scripts, separated by commas.", show_default=False),
]
ParamsOption = Annotated[
    str | None,
    typer.Option(
        "--params",
        help='Parameters as JSON, by script: \'{"quality": {"min_contrast": 0.1}}\'.',
        show_default="those in pipelines.yaml",
    ),
]
SecondsOption = Annotated[float, typer.Option("--seconds", min=0.1, help="Wall time for each image.")]
MemoryOption = Annotated[
    int | None,
    typer.Option("--memory-mb", min=64, help="Memory for each image.", show_default="that of pipelines.yaml"),
]
PixelsOption = Annotated[
    int | None,
    typer.Option("--max-pixels", min=1, help="Pixels of the largest frame.", show_default="that of pipelines.yaml"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, on standard output.")]


@dataclass(frozen=True)
class Report:
    """What became of one image; its fields are those of `--json`."""

    image: str
    outcome: str
    reason: str | None
    seconds: float
    peak_memory_mb: float
    metadata: dict[str, Any] = field(default_factory=dict)
    derivatives: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Scripts with everything they are run with.

    Derivatives are written to `output`, if it is given, under the paths that images have below the absolute `folder`.
    """

    scripts: Sequence[Script]
    params: dict[str, dict[str, Any]]
    limits: Limits
    seconds: float
    output: Path | None = None
    folder: Path = Path()
    told: set[str] = field(default_factory=set)

    def report(self, image: str, content: bytes) -> Report:
        """Process one image."""
        try:
            result = run_scripts(content, self.scripts, self.params, self.limits, self.seconds, explains=True)
        except RunRejection as rejection:
            self._tell(image, rejection.said)
            used = round(rejection.seconds, 4), round(rejection.peak_memory_mb, 1)
            return Report(image, "rejected", str(rejection), *used)
        self._tell(image, result.said)
        return Report(
            image,
            "processed",
            None,
            round(result.seconds, 4),
            round(result.peak_memory_mb, 1),
            _flatten(result),
            [_describe(derivative) for derivative in self._store(image, result)],
        )

    def _tell(self, image: str, said: str) -> None:
        """Show the author of a script what it printed and raised, the same only once."""
        if said and said not in self.told:
            self.told.add(said)
            typer.echo(f"{image}:\n{indent(said.rstrip(), '  ')}", err=True)

    def _store(self, image: str, result: ScriptResult) -> Iterator[dict[str, Any]]:
        for derivative in result.derivatives:
            described = {**asdict(derivative), "bytes": len(derivative.content)}
            if self.output:
                place = self.output / _absolute(Path(image)).relative_to(self.folder)
                target = place.with_name(f"{place.name}.{derivative.name}.{derivative.extension}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(derivative.content)
                described["path"] = str(target)
            yield described


def _flatten(result: ScriptResult) -> dict[str, Any]:
    """Metadata of all scripts side by side; a name that is taken has that of its script before it."""
    metadata: dict[str, Any] = dict(result.columns)
    for script, output in result.script_output.items():
        metadata |= {f"{script}.{name}" if name in metadata else name: value for name, value in output.items()}
    return metadata


def _describe(derivative: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in derivative.items() if name not in ("content", "extension")}


@app.command(epilog=example("imagelake script new darkness --folder scripts"))
def new(
    name: Annotated[str, typer.Argument(help="In lower case with underscores; the file is called so.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to put the script and its test.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a script that works, and its test, to start from."""
    if not _NAME.fullmatch(name):
        raise typer.BadParameter("use lower-case letters, digits and underscores", param_hint="NAME")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise typer.BadParameter(f"{name} is a word or a module of Python's own", param_hint="NAME")
    files = {
        folder / f"{name}.py": script_template.SCRIPT.format(title=name.replace("_", " ").capitalize()),
        folder / f"test_{name}.py": script_template.TEST.format(name=name),
    }
    for file in files:
        if file.exists():
            raise typer.BadParameter(f"{file} is there already", param_hint="NAME")
    with explained(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text)
            typer.echo(json.dumps({"wrote": str(file)}) if as_json else f"wrote {file}")
    if not as_json:
        typer.echo(f"next: imagelake script check {folder / name}.py")


@app.command(epilog=example("imagelake script check darkness.py"))
def check(
    scripts: ScriptsArgument,
    params: ParamsOption = None,
    seconds: SecondsOption = 10.0,
    memory_mb: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run scripts on pictures that scripts stumble over: turned, transparent, grey, CMYK, 16 bit, one pixel, animated.

    Ends with 1 if one of them is not processed.
    """
    with explained(Fault, OSError):
        found = _find(scripts)
        run_ = Run(found, _params(params, found), _limits(memory_mb=memory_mb), seconds)
        reports = [run_.report(name, content) for name, content in check_pictures.make()]
        _show(reports, as_json)
    if any(report.outcome != "processed" for report in reports):
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog=example("imagelake script run darkness.py photos --output thumbnails"))
def run(
    scripts: ScriptsArgument,
    images: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images.", exists=True, show_default=False)
    ],
    params: ParamsOption = None,
    output: Annotated[Path | None, typer.Option("--output", help="A folder for the derivatives.")] = None,
    seconds: SecondsOption = 30.0,
    memory_mb: MemoryOption = None,
    max_pixels: PixelsOption = None,
    heif: Annotated[bool, typer.Option("--heif", help="Accept HEIC, too.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Images at a time.")] = os.process_cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """Run scripts on images, with the engine and the limits of the cloud; nothing is uploaded.

    An image that is rejected is a result like any other: the command ends with 0.
    """
    if heif and find_spec("pi_heif") is None:
        raise typer.BadParameter(
            "HEIC needs the package pi-heif, which is not installed: install imagelake with its extra `heif`, "
            "as in uv tool install '.[heif]'",
            param_hint="--heif",
        )
    limits = _limits(max_pixels, memory_mb)
    if heif:
        limits = replace(limits, formats=(*limits.formats, "HEIF"))
    files = list(_files(images))
    if not files:
        raise typer.BadParameter(f"no images in {', '.join(map(str, images))}", param_hint="IMAGES")
    folder = Path(os.path.commonpath([_absolute(file).parent for file in files]))
    with explained(Fault, OSError):
        found = _find(scripts)
        run_ = Run(found, _params(params, found), limits, seconds, output, folder)
        if output:
            output.mkdir(parents=True, exist_ok=True)
        _show(_process(run_, files, jobs), as_json)


def _absolute(file: Path) -> Path:
    """Where a file lies, under the name it is called by."""
    return file.parent.resolve() / file.name


def _find(scripts: str) -> tuple[Script, ...]:
    known = available_scripts()
    found: dict[str, Script] = {}
    for name in map(str.strip, scripts.split(",")):
        path = Path(name)
        if path.suffix == ".py" and path.is_file():
            script = Script.from_file(path.resolve())
        elif name in known:
            script = Script.from_file(known[name])
        elif path.suffix == ".py":
            raise typer.BadParameter(f"there is no file {path}", param_hint="SCRIPTS")
        else:
            there = ", ".join(sorted(known)) + (
                f", and here the file {name}.py" if Path(f"{name}.py").is_file() else ""
            )
            raise typer.BadParameter(f"there is no script {name}: there are {there}", param_hint="SCRIPTS")
        if script.name in found:
            raise typer.BadParameter(f"two scripts are called {script.name}", param_hint="SCRIPTS")
        found[script.name] = script
    return tuple(found.values())


def _limits(max_pixels: int | None = None, memory_mb: int | None = None) -> Limits:
    """The limits of `pipelines.yaml` with what is given; `max_pixels` raises `max_total_pixels` where needed."""
    limits = pipelines.load().limits
    if memory_mb is not None:
        limits = replace(limits, memory_mb=memory_mb)
    if max_pixels is not None:
        limits = replace(limits, max_pixels=max_pixels, max_total_pixels=max(max_pixels, limits.max_total_pixels))
    return limits


def _params(params: str | None, scripts: Sequence[Script]) -> dict[str, dict[str, Any]]:
    if params is None:
        return pipelines.load().default.params
    try:
        parsed = json.loads(params)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--params") from None
    if not isinstance(parsed, dict) or not all(isinstance(values, dict) for values in parsed.values()):
        raise typer.BadParameter("an object of objects, script to parameters, is expected", param_hint="--params")
    if unknown := parsed.keys() - {script.name for script in scripts}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not among the scripts", param_hint="--params")
    return parsed


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given, and the files in folders, whatever their names say: what counts is the content."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        else:
            yield path


def _process(run_: Run, files: list[Path], jobs: int) -> Iterator[Report]:
    with bar(len(files), "processing") as (progress, task), ThreadPoolExecutor(jobs) as pool:
        try:
            for report in pool.map(lambda file: run_.report(str(file), file.read_bytes()), files):
                progress.advance(task)
                yield report
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()  # or the images in work would be waited for
            raise


def _show(reports: Iterable[Report], as_json: bool) -> None:
    if as_json:
        for report in reports:
            typer.echo(json.dumps(asdict(report)))
        return
    names = ("image", "outcome", "seconds", "MB", "derivatives", "reason")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None, pad_edge=False)
    shown = []
    try:
        for report in reports:
            shown.append(report)
            outcome = Text(report.outcome, "green" if report.outcome == "processed" else "red")
            derivatives = ", ".join(f"{made['name']} {made['width']}x{made['height']}" for made in report.derivatives)
            seconds, memory = f"{report.seconds:.3f}", f"{report.peak_memory_mb:.0f}"
            texts = map(Text, (report.image, derivatives, report.reason or ""))
            table.add_row(next(texts), outcome, seconds, memory, *texts)
    finally:  # what is done is shown, whatever ends the rest
        if shown:
            print_table(table)
    if len(shown) == 1 and shown[0].metadata:
        Console().print_json(data=shown[0].metadata)
