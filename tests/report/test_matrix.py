"""Tasks against mixers in one figure."""

from __future__ import annotations

from seqmem.report.matrix import figure
from seqmem.report.plots import Series
from seqmem.training.aggregate import aggregate
from seqmem.training.schema import Result
from tests.report.studies import page_of, record, seeds

SERIES = {("attention", 16): Series("attention", 0, True), ("lstm", 16): Series("lstm", 1, False)}


def results(tasks: int = 4) -> list[Result]:
    """The same task at several lengths, which makes several of it; attention is lost at the second."""
    found = []
    for length in range(32, 32 + tasks):
        given = {"task_options": {"length": length}}
        found += seeds("lstm", [0.2, 0.3, 0.9], far=0.5, **given)
        found += [record("attention", None if length == 33 else 0.4, **given)]
    return found


def test_the_median_over_seeds_of_what_is_beyond_the_training_length() -> None:
    found = results()
    for r, far in zip((r for r in found if r["mixer"] == "lstm"), [0.25, 0.5, 0.875] * 4, strict=True):
        r["metrics"]["test"]["128"]["all"] = far
    drawn = figure(aggregate(found), SERIES)
    assert drawn is not None
    assert drawn["svg"].count(">.50<") == 4
    told = "lstm, mqar(length=33): median 0.50, best 0.88 of 3 seeds, chance 0.06; at length 32: 0.47, 128: 0.54"
    assert drawn["svg"].count(told) == 2  # box and number
    assert "attention, mqar(length=33)" not in drawn["svg"]  # it has no score, so it has no box
    assert drawn["svg"].count("of 1 seed, ") == 2 * 3


def test_a_task_of_one_length_is_judged_there_and_all_right_is_written_short() -> None:
    found = [
        record(mixer, 1.0, lengths=1, task_options={"length": length})
        for mixer in ("attention", "lstm")
        for length in (32, 33, 34, 35)
    ]
    drawn = figure(aggregate(found), SERIES)
    assert drawn is not None
    assert drawn["svg"].count(">1<") == 8


def test_few_tasks_and_tasks_in_bits_have_none() -> None:
    assert figure(aggregate(results(3)), SERIES) is None
    bits = [record("lstm", 2.0, "bytes", task_options={"length": length}) for length in (32, 33, 34, 35)]
    assert figure(aggregate(bits), SERIES) is None


def test_it_is_on_the_page() -> None:
    assert "Tasks and mixers" in page_of(results())
    assert "Tasks and mixers" not in page_of(results(3))
