"""What the sizes of packages are read from."""

from pathlib import Path

import pytest

from tools import package_sizes


def test_without_a_build_it_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert package_sizes.main() == 1
    assert (
        capsys.readouterr().err
        == "Nothing is built: there is no .aws-sam/build/template.yaml. Build it with make build.\n"
    )
