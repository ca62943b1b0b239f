"""A benchmark that takes seconds when it is small still runs; what the others take only an hour can tell."""

import subprocess
import sys
from pathlib import Path

from tools import sql


def test_the_benchmark_of_the_catalog_asks_every_query(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.catalog_queries", "--images", "50", "--folder", str(tmp_path)]

    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    for file in sql.query_files():
        assert f"| {file.stem} |" in said
