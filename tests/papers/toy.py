"""A paper for the tests of the machinery: what it measures is in its settings and in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqmem.errors import InputError
from seqmem.papers.paper import Figure, Paper, Rule

SIZES = {"gain": 0.5, "null": 0.0}
PAPER = Paper(
    slug="toy",
    uses=("seqmem.ops.linear_scan",),
    setup="A number is made <larger> & measured.",
    baseline="the number as it was",
    control="nothing is added",
    figures=(
        Figure("exact", "the size of the gain", "units"),
        Figure("gain", "the gain", "units"),
        Figure("null", "the gain where nothing is added (control)", "units"),
    ),
    rule=Rule(holds="low(gain) > 0.4 and exact == 0.5", in_part="gain > 0.1", control="abs(mean(null)) < 0.1"),
    limits="It is a toy.",
    parts=("first", "second"),
    exact=("first",),
    settings={"smoke": SIZES, "laptop": SIZES, "full": SIZES},
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    takes_model=True,
)


def measure(
    part: str, settings: dict[str, Any], seed: int, model: str | None, report: Callable[[float, str], None]
) -> dict[str, Any]:
    """Writes a line into a diary; fails, or dislikes its model, where it is told to."""
    with Path(os.environ["SEQMEM_TEST_DIARY"]).open("a") as diary:
        diary.write(f"{part} {seed} {model}\n")
    report(0.5, "half-way")
    if model == "unable":
        raise InputError("model 'unable' has no attention, expected a transformer; give another with --model")
    if os.environ.get("SEQMEM_TEST_FAILS") == f"{part} {seed}":
        raise RuntimeError("two lines\nof trouble")
    if part == "first":
        return {"figures": {"exact": settings["gain"]}, "notes": ["a note"]}
    line = {"x": [1, 2, 4], "y": [seed, seed + 1, float("nan")]}
    return {
        "figures": {"gain": settings["gain"] + 0.01 * seed, "null": settings["null"]},
        "series": {"gain against size: toy": line},
    }
