"""Lint every template of the application, and the CloudFormation it becomes.

cfn-lint skips the policies of a function as long as they are SAM's, so the translated template is linted too. Works
offline and without an AWS account.
"""

import os
import subprocess
import sys
from pathlib import Path

from cfnlint.api import ManualArgs, lint
from samcli.commands.validate.lib.exceptions import InvalidSamDocumentException
from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse
from samtranslator.internal.managed_policies import get_bundled_managed_policy_map

REGION = "us-east-1"


class _BundledPolicies:
    """Managed policies by name, from the translator's own list instead of IAM's."""

    def load(self) -> dict[str, str]:
        return get_bundled_managed_policy_map("aws") or {}


def check(template: Path) -> list[str]:
    """The findings in `template`; empty when there is nothing to say."""
    if not template.is_file():
        return [f"{template} does not exist"]
    if "Transform" not in yaml_parse(template.read_text(encoding="utf-8")):
        return _findings(template, template.read_text(encoding="utf-8"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    validation = subprocess.run(
        [Path(sys.executable).with_name("sam"), "validate", "--lint", "--template-file", template, "--region", REGION],
        env=environment | {"SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if validation.returncode:
        return [validation.stdout + validation.stderr]

    os.environ.pop("AWS_PROFILE", None)
    try:
        translated = translate(template)
    except InvalidSamDocumentException as error:
        return [f"{template}: {error}"]
    return _findings(f"{template}, translated", translated)


def _findings(name: Path | str, document: str) -> list[str]:
    return [f"{name}: {finding}" for finding in lint(document, config=ManualArgs(regions=[REGION]))]


def templates(root: Path) -> list[Path]:
    """Every template in a folder: the lake, its nested stacks, the optional stacks beside it, and the examples."""
    written = ("analytics/template.yaml", "analytics/dashboard/template.yaml", "dashboards/template.yaml")
    nested = [*root.glob("stacks/*.yaml"), *(root / one for one in written)]
    beside = [*root.glob("infra/*.yaml"), *root.glob("examples/events/*.yaml")]
    return [root / "template.yaml", *sorted(nested), *sorted(beside)]


def translate(template: Path) -> str:
    """The CloudFormation that `template` becomes, as YAML.

    Raises:
        InvalidSamDocumentException: the template is not valid.
    """
    validator = SamTemplateValidator(yaml_parse(template.read_text()), _BundledPolicies(), region=REGION)
    translated: str = validator.get_translated_template_if_valid()
    return translated


if __name__ == "__main__":
    findings = [finding for template in templates(Path()) for finding in check(template)]
    print("\n".join(findings))
    sys.exit(bool(findings))
