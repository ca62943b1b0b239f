"""A benchmark that takes seconds when it is small still runs; what the others take only an hour can tell."""

import subprocess
import sys
from pathlib import Path

from benchmarks import cold_start
from tests.application import variables
from tools import sql


def test_the_benchmark_of_cold_starts_tells_functions_what_the_template_tells_them() -> None:
    told = cold_start._environment("http://127.0.0.1:1")

    assert told.keys() >= variables("process_image").keys() | variables("http_api").keys()


def test_the_benchmark_of_the_catalog_asks_every_query(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.catalog_queries", "--images", "50", "--folder", str(tmp_path)]

    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    for file in sql.query_files():
        assert f"| {file.stem} |" in said
