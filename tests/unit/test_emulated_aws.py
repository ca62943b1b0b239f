"""What the emulator is corrected in is what decision 5 says."""

import ast
import re

from local.emulator import ROOT


def test_the_record_has_a_row_for_every_correction() -> None:
    module = ast.parse((ROOT / "local/emulator/emulated_aws.py").read_text())
    calls = [node.value for node in module.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    corrections = [ast.unparse(call.func).rpartition(".")[2].removeprefix("_") for call in calls]
    record = (ROOT / "docs/decisions/0005-the-emulator-is-corrected.md").read_text()

    assert re.findall(r"^\| `(\w+)` \|", record.partition("## ")[0], re.MULTILINE) == corrections
