"""Speeds by length."""

from __future__ import annotations

from seqmem.report.speed import lengths_of, table
from seqmem.training.aggregate import aggregate
from seqmem.training.schema import Result
from tests.report.studies import page_of, plain, record


def at_two_lengths() -> list[Result]:
    found = []
    for mixer in ("attention", "lstm"):
        for length, speed in ((128, 9_000.0), (32, 5_000.0)):
            r = record(mixer, 0.5, task_options={"length": length}, train_tokens_per_second=speed)
            assert r["metrics"]
            r["metrics"]["test"] = {str(length): {"all": 0.5}, str(2 * length): {"all": 0.4}}
            found.append(r)
    return found


def test_every_speed_at_every_length() -> None:
    summary = aggregate(at_two_lengths())
    assert [task["test_lengths"][0] for task in lengths_of(summary)] == ["32", "128"]
    page = page_of(at_two_lengths())
    assert "training tokens/s by length" in page
    assert "<th>training tokens/s, 32</th><th>training tokens/s, 128</th>" in page
    assert "<th>µs per decoded token, 64</th><th>µs per decoded token, 256</th>" in page
    assert '<tr data-series="lstm"><td>lstm</td><td>5,000</td><td>9,000</td><td>250</td><td>250</td></tr>' in page


def test_one_length_has_no_table() -> None:
    assert table(aggregate(plain()), {}) == {"columns": [], "rows": []}
    assert "by length" not in page_of(plain())
