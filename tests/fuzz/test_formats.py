"""Harmed files of every format that seqmem reads; ``SEQMEM_EXAMPLES=2000 pytest tests/fuzz`` harms more of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.formats import FORMATS
from tests.fuzz.wrong import SAYS

EXAMPLES = os.environ.get("SEQMEM_EXAMPLES", "10")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, Any]]:
    """What the child says of each format."""
    path = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
    child = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", EXAMPLES], cwd=ROOT, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    return {report["format"]: report for report in map(json.loads, child.stdout.splitlines())}


@pytest.mark.timeout(max(300, int(EXAMPLES) * 10))
@pytest.mark.parametrize("name", FORMATS)
def test_harmed_files_are_refused_in_a_line_or_set_aside(name: str, reports: dict[str, dict[str, Any]]) -> None:
    assert reports[name]["fault"] == ""
    assert reports[name]["files"] >= min(10, int(EXAMPLES))


@pytest.mark.parametrize("name", SAYS)
def test_readers_that_do_what_none_may_are_noticed(name: str, reports: dict[str, dict[str, Any]]) -> None:
    assert SAYS[name] in reports[name]["fault"]
