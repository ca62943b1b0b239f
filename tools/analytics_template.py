"""Writes the nested stacks of `analytics/` from the files beside them.

    python -m tools.analytics_template [--check]

`analytics/template.yaml` has the view and the named queries, `analytics/dashboard/template.yaml` the dashboard.

With `--check` it compares instead of writing.
"""

import json
import sys
from typing import Any, Final

import sqlglot
import yaml
from samcli.yamlhelper import yaml_parse
from sqlglot import exp

from local.emulator import ROOT
from tools.dashboard import answers, definition, quicksight
from tools.sql import VIEWS, named, query_files

TEMPLATE: Final = ROOT / "analytics" / "template.yaml"
_ATHENA_TYPES: Final = {
    "string": "varchar",
    "int": "integer",
    "map<string,string>": "map(varchar,varchar)",
    "array<string>": "array(varchar)",
}
_HEADER: Final = "# Written by make analytics from analytics/**/*.sql and the columns in template.yaml.\n"
_DASHBOARD_HEADER: Final = "# Written by make analytics from dashboard.yaml and the named queries.\n"


class _Dumper(yaml.SafeDumper):
    """Writes SQL as it is in its file, and what is shared in full, as CloudFormation wants it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the name of yaml's parameter
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def template() -> str:
    """The nested stack as YAML."""
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The views of images with and without personal data, and questions that analysts have.",
        "Parameters": {"CatalogDatabase": {"Type": "String"}, "AthenaWorkGroup": {"Type": "String"}},
        "Resources": {
            "CurrentImagesView": _view("current_images"),
            "CurrentImagesPersonalView": _view("current_images_personal"),
            **named_queries("AthenaWorkGroup"),
        },
    }
    return _HEADER + dumped(document)


def dashboard_template() -> str:
    """The nested stack of the dashboard as YAML."""
    queries = answers.queries()
    return _DASHBOARD_HEADER + dumped(quicksight.template(definition.read(queries), queries))


def dumped(document: dict[str, Any]) -> str:
    """A template as YAML, with SQL in blocks."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def camel(name: str) -> str:
    """The name of a file or column as part of a logical id."""
    return "".join(part.title() for part in name.split("_"))


def named_queries(work_group: str) -> dict[str, dict[str, Any]]:
    """The resources of all named queries in a work group, which is a logical id or parameter, by their logical ids."""
    return {f"{camel(file.stem)}Query": _named_query(file.stem, work_group) for file in query_files()}


def _named_query(name: str, work_group: str) -> dict[str, Any]:
    question, sql = named(name)
    properties = {
        "Name": name,
        "Description": question,
        "Database": {"Ref": "CatalogDatabase"},
        "WorkGroup": {"Ref": work_group},
        "QueryString": sql,
    }
    return {"Type": "AWS::Athena::NamedQuery", "Properties": properties}


def _view(name: str) -> dict[str, Any]:
    """A view as Athena keeps them in Glue: https://docs.aws.amazon.com/athena/latest/ug/views.html."""
    description, sql = named(name, VIEWS)
    table = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]["CatalogTable"]["Properties"]
    shown = sqlglot.parse_one(sql, read="athena", into=exp.Select).named_selects
    there = [*table["TableInput"]["StorageDescriptor"]["Columns"], *table["TableInput"]["PartitionKeys"]]
    columns = [one for one in there if one["Name"] in shown]
    definition = {
        "originalSql": sql,
        "catalog": "awsdatacatalog",
        "schema": "${CatalogDatabase}",
        "columns": [{"name": one["Name"], "type": _ATHENA_TYPES.get(one["Type"], one["Type"])} for one in columns],
    }
    encoded = {"Fn::Base64": {"Fn::Sub": json.dumps(definition)}}
    properties = {
        "CatalogId": {"Ref": "AWS::AccountId"},
        "DatabaseName": {"Ref": "CatalogDatabase"},
        "TableInput": {
            "Name": name,
            "Description": description,
            "TableType": "VIRTUAL_VIEW",
            "Parameters": {"presto_view": "true", "comment": "Presto View"},
            "ViewExpandedText": "/* Presto View */",
            "ViewOriginalText": {"Fn::Join": ["", ["/* Presto View: ", encoded, " */"]]},
            # Athena refuses a view whose table says nothing of how it is read, though nothing is read by it.
            "StorageDescriptor": {
                "Columns": [dict(one) for one in columns],
                "SerdeInfo": {"Name": "-", "SerializationLibrary": "-"},
            },
        },
    }
    return {"Type": "AWS::Glue::Table", "Properties": properties}


def main(arguments: list[str]) -> int:
    """Write the files, or say which is not as it would be written."""
    stale = []
    for file, written in ((TEMPLATE, template()), (quicksight.TEMPLATE, dashboard_template())):
        if "--check" not in arguments:
            file.write_text(written, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != written:
            stale.append(str(file.relative_to(ROOT)))
    if stale:
        print(f"{', '.join(stale)}: not as written by make analytics")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
