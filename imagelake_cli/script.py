"""`imagelake script`: write a provided script, check it, and run it on images here, with the engine of the cloud."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from imagelake.errors import SettingsError
from imagelake.limits import Limits
from imagelake.script_runner import RunRejection, Script, ScriptResult, find_scripts, run_scripts, stop
from imagelake_cli import check_pictures, script_template

app = typer.Typer(help="Write, check and run provided scripts.", no_args_is_help=True)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

ScriptsArgument = Annotated[
    str,
    typer.Argument(help="A script's file, or the names of provided scripts, separated by commas.", show_default=False),
]
ParamsOption = Annotated[
    str, typer.Option("--params", help='Parameters as JSON, by script: \'{"quality": {"min_contrast": 0.1}}\'.')
]
SecondsOption = Annotated[float, typer.Option("--seconds", min=0.1, help="Wall time for each image.")]
MemoryOption = Annotated[int, typer.Option("--memory-mb", min=64, help="Memory for each image.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per image and line, on standard output.")]


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

    Derivatives are written to `output`, if it is given, under the paths that images have below `folder`.
    """

    scripts: Sequence[Script]
    params: dict[str, dict[str, Any]]
    limits: Limits
    seconds: float
    output: Path | None = None
    folder: Path = Path()

    def report(self, image: str, content: bytes) -> Report:
        """Process one image."""
        try:
            result = run_scripts(content, self.scripts, self.params, self.limits, self.seconds)
        except RunRejection as rejection:
            used = round(rejection.seconds, 4), round(rejection.peak_memory_mb, 1)
            return Report(image, "rejected", str(rejection), *used)
        return Report(
            image,
            "processed",
            None,
            round(result.seconds, 4),
            round(result.peak_memory_mb, 1),
            _flatten(result),
            [_describe(derivative) for derivative in self._store(image, result)],
        )

    def _store(self, image: str, result: ScriptResult) -> Iterator[dict[str, Any]]:
        for derivative in result.derivatives:
            described = {**asdict(derivative), "bytes": len(derivative.content)}
            if self.output:
                place = self.output / Path(image).relative_to(self.folder)
                target = place.with_name(f"{place.name}.{derivative.name}.{derivative.extension}")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(derivative.content)
                described["path"] = str(target)
            yield described


def _flatten(result: ScriptResult) -> dict[str, Any]:
    """Metadata of all scripts side by side, as the scripts returned it."""
    metadata: dict[str, Any] = dict(result.columns)
    for output in result.script_output.values():
        metadata |= output
    return metadata


def _describe(derivative: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in derivative.items() if name not in ("content", "extension")}


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="In lower case with underscores; the file is called so.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to put the script and its test.")] = Path(),
) -> None:
    """Write a script that works, and its test, to start from."""
    if not _NAME.fullmatch(name):
        raise typer.BadParameter("use lower-case letters, digits and underscores", param_hint="NAME")
    files = {
        folder / f"{name}.py": script_template.SCRIPT.format(title=name.replace("_", " ").capitalize()),
        folder / f"test_{name}.py": script_template.TEST.format(name=name),
    }
    for file in files:
        if file.exists():
            raise typer.BadParameter(f"{file} is there already", param_hint="NAME")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text)
        typer.echo(f"wrote {file}")
    typer.echo(f"next: imagelake script check {folder / name}.py")


@app.command()
def check(
    scripts: ScriptsArgument,
    params: ParamsOption = "{}",
    seconds: SecondsOption = 10.0,
    memory_mb: MemoryOption = 512,
    as_json: JsonOption = False,
) -> None:
    """Run scripts on pictures that scripts stumble over: turned, transparent, grey, CMYK, 16 bit, one pixel, animated.

    Ends with 1 if one of them is not processed.
    """
    run_ = Run(_find(scripts), _parse(params), Limits(memory_mb=memory_mb), seconds)
    reports = [run_.report(name, content) for name, content in check_pictures.make()]
    _show(reports, as_json, Console())
    if any(report.outcome != "processed" for report in reports):
        raise typer.Exit(1)


@app.command()
def run(
    scripts: ScriptsArgument,
    images: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images.", exists=True, show_default=False)
    ],
    params: ParamsOption = "{}",
    output: Annotated[Path | None, typer.Option("--output", help="A folder for the derivatives.")] = None,
    seconds: SecondsOption = 30.0,
    memory_mb: MemoryOption = 512,
    max_pixels: Annotated[int, typer.Option(help="Pixels of the largest frame.")] = Limits.max_pixels,
    heif: Annotated[bool, typer.Option("--heif", help="Accept HEIC, too.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Images at a time.")] = os.process_cpu_count() or 1,
    as_json: JsonOption = False,
) -> None:
    """Run scripts on images, with the engine and the limits of the cloud; nothing is uploaded.

    An image that is rejected is a result like any other: the command ends with 0.
    """
    formats = (*Limits.formats, "HEIF") if heif else Limits.formats
    total = max(max_pixels, Limits.max_total_pixels)
    limits = Limits(memory_mb=memory_mb, max_pixels=max_pixels, max_total_pixels=total, formats=formats)
    files = list(_files(images))
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    run_ = Run(_find(scripts), _parse(params), limits, seconds, output, folder)
    _show(_process(run_, files, jobs), as_json, Console())


def _find(scripts: str) -> tuple[Script, ...]:
    try:
        found: list[Script] = []
        for name in scripts.split(","):
            path = Path(name)
            found += [Script.from_file(path.resolve())] if path.suffix == ".py" else find_scripts([name])
        return tuple(found)
    except (SettingsError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="SCRIPTS") from None


def _parse(params: str) -> dict[str, dict[str, Any]]:
    try:
        parsed = json.loads(params)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--params") from None
    if not isinstance(parsed, dict) or not all(isinstance(values, dict) for values in parsed.values()):
        raise typer.BadParameter("an object of objects, script to parameters, is expected", param_hint="--params")
    return parsed


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given, and the files in folders, whatever their names say: what counts is the content."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        else:
            yield path


def _process(run_: Run, files: list[Path], jobs: int) -> Iterator[Report]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=Console(stderr=True), transient=True, disable=len(files) < 2) as progress,
        ThreadPoolExecutor(jobs) as pool,
    ):
        task = progress.add_task("processing", total=len(files))
        try:
            for report in pool.map(lambda file: run_.report(str(file), file.read_bytes()), files):
                progress.advance(task)
                yield report
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()  # or the images in work would be waited for
            raise


def _show(reports: Iterable[Report], as_json: bool, console: Console) -> None:
    if as_json:
        for report in reports:
            typer.echo(json.dumps(asdict(report)))
        return
    table = Table("image", "outcome", "seconds", "MB", "derivatives", "reason", box=None, pad_edge=False)
    shown = []
    for report in reports:
        shown.append(report)
        color = "green" if report.outcome == "processed" else "red"
        derivatives = ", ".join(f"{made['name']} {made['width']}x{made['height']}" for made in report.derivatives)
        seconds, memory = f"{report.seconds:.3f}", f"{report.peak_memory_mb:.0f}"
        table.add_row(report.image, f"[{color}]{report.outcome}", seconds, memory, derivatives, report.reason or "")
    console.print(table)
    if len(shown) == 1:
        console.print_json(data=shown[0].metadata)
