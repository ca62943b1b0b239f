"""The wheels hold what they say and need what they say; they are built here, without a network."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_string
from importlib import metadata
from zipfile import ZipFile

import pytest

from local.emulator import ROOT

PROJECTS: dict[str, tuple[set[str], set[str], set[str]]] = {
    "imagelake": ({"imagelake", "imagelake_cli", "scripts"}, {"heif", "pictures"}, {"imagelake/pipelines.json"}),
    "kafka-poller": ({"kafka_poller"}, set(), set()),
}
"""Of each distribution: packages, extras, and files that are no modules."""


@pytest.fixture(scope="module", params=PROJECTS)
def project(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def wheel(project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT if project == "imagelake" else ROOT / project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert "warn" not in (built.stdout + built.stderr).lower()
    [file] = folder.glob("*.whl")
    with ZipFile(file) as wheel:
        yield wheel


def test_a_wheel_holds_its_packages_only(project: str, wheel: ZipFile) -> None:
    files = [name for name in wheel.namelist() if ".dist-info/" not in name]

    assert {name.split("/")[0] for name in files} == PROJECTS[project][0]
    assert {name for name in files if not name.endswith(".py")} == PROJECTS[project][2]


def test_a_wheel_imports_nothing_but_itself_and_what_it_requires(project: str, wheel: ZipFile) -> None:
    declared = _declared(wheel)
    modules = {module for name, _ in declared for module in _modules(name)}
    inside = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in wheel.namelist()}

    missing = {
        f"{file}: {name}"
        for file in wheel.namelist()
        if file.endswith(".py")
        for name in _imports(ast.parse(wheel.read(file)))
        if not (
            (top := name.split(".")[0]) in sys.stdlib_module_names
            or (name in inside if top in PROJECTS[project][0] else top in modules)
        )
    }

    assert {extra for _, extra in declared if extra} == PROJECTS[project][1]
    assert missing == set()


def _declared(wheel: ZipFile) -> list[tuple[str, str]]:
    """The distributions that the wheel requires, each with the extra it belongs to, if any."""
    [file] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    required = message_from_string(wheel.read(file).decode()).get_all("Requires-Dist") or []
    return [(_distribution(one), "".join(re.findall(r"extra == '([^']+)'", one))) for one in required]


def _distribution(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _modules(distribution: str) -> set[str]:
    """What can be imported once it is installed: its own modules and, as of botocore with boto3, those it requires."""
    required = [one for one in metadata.requires(distribution) or [] if "extra ==" not in one]
    names = {_normal(name) for name in (distribution, *map(_distribution, required))}
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if names & set(map(_normal, distributions))
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(node: ast.AST) -> Iterator[str]:
    """The modules that are imported anywhere below, but for those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None, "imports are absolute"
            yield child.module
        else:
            yield from _imports(child)


def test_the_wheel_of_the_command_line_needs_no_part_of_the_local_lake() -> None:
    needed = {_normal(_distribution(one)) for one in metadata.requires("imagelake") or []}

    assert not needed & {"aws-sam-cli", "confluent-kafka", "hypercorn", "kafka-poller", "ministack", "noida-db"}
