"""Studies made by hand: results as the store would hold them, and the page made from them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from seqmem.report.compare_page import compare_page
from seqmem.training.aggregate import Summary, aggregate
from seqmem.training.result import result_of
from seqmem.training.schema import CurvePoint, Metrics, Result
from tests.training.helpers import experiment

HOSTILE = """bad.py:<script>alert("1")</script>&'$x_$[/b]"""
MEMORY = {"attention": "linear"}


def record(
    mixer: str, score: float | None, task: str = "mqar", *, far: float | None = None, lengths: int = 2, **given: Any
) -> Result:
    """One result. ``score``: at the training length (None: it diverged), ``far``: at the longest test length."""
    described = {"task_options": {"length": 32}, "study_width": 16, "width": 16, **given.pop("described", {})}
    for key in ("seed", "learning_rate", "study_width", "mixer_options", "task_options"):
        if key in given:
            described[key] = given.pop(key)
    one = experiment(mixer, task=task, **described)
    figures = {
        "parameters": 6_656, "state_bytes": 32_000 if mixer == "attention" else 512, "steps": 20, "tokens": 5_000,
        "train_tokens_per_second": 14_300.0, "decode_microseconds": 250.0, "wall_seconds": 4.2,
    }  # fmt: skip
    if score is None:
        lost = {"status": "diverged", "status_detail": "the loss is nan from step 7 on"}
        return result_of(one, **{**lost, **given})
    near: dict[str, float | None] = {"all": score}
    bits = task == "bytes"
    if not bits:
        near |= {"pairs=2": min(1.0, score + 0.05), "pairs=4": max(0.0, score - 0.05)}
    test = {"32": near, "128": {**near, "all": score if far is None else far}}
    metrics: Metrics = {
        "name": "bits_per_byte" if bits else "accuracy",
        "chance": 4.5 if bits else 0.0625,
        "validation": score,
        "test": {length: test[length] for length in list(test)[:lengths]},
    }
    return result_of(one, **{"status": "done", **figures, **given, "metrics": metrics})


def seeds(mixer: str, scores: list[float], task: str = "mqar", **given: Any) -> list[Result]:
    """One result per score, each of a seed of its own."""
    return [record(mixer, score, task, seed=seed, **given) for seed, score in enumerate(scores)]


def curves_of(results: list[Result]) -> dict[str, list[CurvePoint]]:
    """Learning curves that end at each result's validation score."""
    found: dict[str, list[CurvePoint]] = {}
    for r in results:
        end = r["metrics"]["validation"] if r["metrics"] else None
        points: list[CurvePoint] = [
            {"step": k, "tokens": 1_000 * k, "loss": 3.0 / k, "validation": None if end is None else end * k / 4}
            for k in (1, 2, 3, 4)
        ]
        found[r["experiment"]] = points
    return found


def page_of(results: list[Result], memory: dict[str, str] | None = None, **study: Any) -> str:
    """The page of these results, with an example for every task."""
    summary: Summary = aggregate(results)
    examples = [{"name": t["name"], "summary": "what it is", "text": "C=2  A=1 | A?"} for t in summary["tasks"]]
    settings = {"study": {"mixers": list(summary["mixers"])}, "workers": 1, **study}
    return compare_page(summary, results, curves_of(results), settings, examples, MEMORY if memory is None else memory)


def plain() -> list[Result]:
    """Three mixers and two tasks, three seeds each."""
    return [
        *seeds("attention", [0.97, 0.98, 0.99], far=0.6),
        *seeds("lstm", [0.20, 0.25, 0.30], train_tokens_per_second=20_000.0),
        *seeds("mamba", [0.90, 0.97, 0.99], decode_microseconds=90.0, state_bytes=2_048),
        *seeds("attention", [2.1, 2.2, 2.3], "bytes"),
        *seeds("lstm", [2.5, 2.6, 2.7], "bytes"),
        *seeds("mamba", [2.0, 2.05, 2.1], "bytes"),
    ]


def wide() -> list[Result]:
    """Two widths, three rates of which one is lost, a layer of somebody's own, a hostile name."""
    found = []
    for mixer in ("attention", "somewhere.layers:MyLayer", HOSTILE):
        for width in (16, 32):
            sizes = {"study_width": width, "state_bytes": 100 * width}
            found += seeds(mixer, [0.3, 0.4], learning_rate=1e-3, **sizes)
            found += seeds(mixer, [0.7, 0.8], learning_rate=3e-3, **sizes)
            found += [record(mixer, 0.9, learning_rate=1e-1, seed=0, **sizes)]
            found += [record(mixer, None, learning_rate=1e-1, seed=1, study_width=width)]
    return found


def crowded() -> list[Result]:
    """Thirteen mixers with like scores and like states: more series than colours, names that want the same place."""
    return [
        r
        for k in range(13)
        for r in seeds(f"pkg.mod:Layer{'WithALongName' * (k % 3)}{k}", [0.90 + k / 200] * 2, state_bytes=512 + 64 * k)
    ]


def lost() -> list[Result]:
    """Nothing finished."""
    failed = {"status": "failed", "status_detail": "RuntimeError: <b>no</b>"}
    return [record("attention", None), record("lstm", None, **failed)]


STUDIES: dict[str, Callable[[], list[Result]]] = {
    "plain": plain,
    "wide": wide,
    "crowded": crowded,
    "lost": lost,
    "one mixer, one seed": lambda: [record("lstm", 0.5)],
    "one test length": lambda: [record(m, 0.5, lengths=1) for m in ("lstm", "gru")],
    "one of two diverged": lambda: [record("lstm", 0.5), record("gru", None)],
    "at chance": lambda: [record("lstm", 0.0), record("gru", 0.0)],
    "no state to count": lambda: [record("lstm", 0.9, state_bytes=0), record("gru", 0.8, state_bytes=0)],
    "bits alone": lambda: seeds("lstm", [2.0, 2.1], "bytes"),
    "figures of zero": lambda: [record("lstm", 0.5, train_tokens_per_second=0.0, decode_microseconds=0.0)],
}


@functools.cache
def page(name: str) -> str:
    """The page of one of ``STUDIES``. A warning while it is drawn is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return page_of(STUDIES[name]())
