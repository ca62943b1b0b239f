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
    return {name: _size(template.parent / layer["ContentUri"]) for name, layer in layers}


def function_sizes(template: Path) -> dict[str, tuple[int, int]]:
    """Bytes of each function of a built template, alone and with all layers it may have, by logical id."""
    layers = layer_sizes(template)
    sizes = {}
    for name, function in _resources(template, "AWS::Serverless::Function").items():
        alone = _size(template.parent / function["CodeUri"])
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


def _resources(template: Path, kind: str) -> dict[str, Mapping[str, Any]]:
    resources = yaml_parse(template.read_text(encoding="utf-8"))["Resources"]
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind}


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
