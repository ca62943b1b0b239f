"""How large the built functions and layers are: `make build`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from samcli.yamlhelper import yaml_parse

LIMIT_BYTES: Final = 262_144_000
"""Lambda's limit of a function and its layers together, unzipped."""


def layer_sizes(template: Path) -> dict[str, int]:
    """Bytes of each layer of a built template, by logical id."""
    layers = _resources(template, "AWS::Serverless::LayerVersion").items()
    return {name: _size(file.parent / layer["ContentUri"]) for name, (file, layer) in layers}


def function_folders(template: Path) -> dict[str, Path]:
    """Where the functions of a built template and of its nested stacks are, by logical id."""
    functions = _resources(template, "AWS::Serverless::Function").items()
    return {name: file.parent / function["CodeUri"] for name, (file, function) in functions}


def function_sizes(template: Path) -> dict[str, tuple[int, int]]:
    """Bytes of each function of a built template, alone and with all layers it may have, by logical id.

    A nested stack gets a layer in a parameter of the layer's name.
    """
    layers, folders = layer_sizes(template), function_folders(template)
    sizes = {}
    for name, (_, function) in _resources(template, "AWS::Serverless::Function").items():
        alone = _size(folders[name])
        sizes[name] = alone, alone + sum(layers.get(layer, 0) for layer in _references(function.get("Layers")))
    return sizes


def main() -> int:
    """Print the sizes of the template that `sam build` wrote; the exit code is 1 when a function is too large."""
    template = Path(".aws-sam/build/template.yaml")
    if not template.exists():
        print(f"Nothing is built: there is no {template}. Build it with make build.", file=sys.stderr)
        return 1
    table = Table("unzipped, MB", "alone", "with layers")
    for name, size in layer_sizes(template).items():
        table.add_row(name, f"{size / 1e6:.1f}")
    functions = function_sizes(template)
    for name, (alone, whole) in functions.items():
        table.add_row(name, f"{alone / 1e6:.1f}", f"{whole / 1e6:.1f}", style="red" if whole > LIMIT_BYTES else "")
    Console().print(table, f"At most {LIMIT_BYTES / 1e6:.1f} with layers.")
    return int(any(whole > LIMIT_BYTES for _, whole in functions.values()))


def _resources(template: Path, kind: str) -> dict[str, tuple[Path, Mapping[str, Any]]]:
    """The properties of all resources of a type, nested stacks included, each with the template that has it."""
    found: dict[str, tuple[Path, Mapping[str, Any]]] = {}
    for name, resource in yaml_parse(template.read_text(encoding="utf-8"))["Resources"].items():
        if resource["Type"] == kind:
            found[name] = template, resource["Properties"]
        elif resource["Type"] == "AWS::CloudFormation::Stack":
            found |= _resources(template.parent / resource["Properties"]["TemplateURL"], kind)
    return found


def _references(value: Any) -> list[str]:
    """The names that `Ref` refers to anywhere in `value`."""
    match value:
        case {"Ref": name}:
            return [name]
        case dict():
            return _references(list(value.values()))
        case list():
            return [name for entry in value for name in _references(entry)]
        case _:
            return []


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    sys.exit(main())
