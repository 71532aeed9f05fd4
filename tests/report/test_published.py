"""A study's figures beside published ones."""

from __future__ import annotations

from typing import Any

from seqmem.report.published import finding, pairs, points, table
from seqmem.training.aggregate import aggregate
from tests.report.studies import page_of, plain, record, seeds


def entry(figures: dict[str, Any], **given: Any) -> dict[str, Any]:
    described = {"task": "mqar", "figures": figures, "source": "A Paper (2020)", "setting": "", "at": "training"}
    return {**described, "scaled": False, **given}


def test_the_figure_nearest_in_state_is_taken() -> None:
    results = [
        record("lstm", score, study_width=width, state_bytes=size)
        for width, size, score in ((16, 1_000, 0.3), (32, 3_000, 0.6))
    ]
    found = pairs(entry({"lstm": [[1_500, 0.5], [2_000, 0.5]], "Based": [[900, 0.9]]}), aggregate(results))
    assert [(p.mixer, p.ours, p.ours_bytes) for p in found] == [
        ("lstm", 0.3, 1_000),
        ("lstm", 0.6, 3_000),
        ("Based", None, None),
    ]  # fmt: skip  (1,500 is nearer to 1,000 by ratio, 2,000 to 3,000)
    assert finding(found) == (
        "1 of 2 figures lie within 0.1 of the published ones; lstm is furthest off, 0.30 instead of 0.50."
    )


def test_states_of_another_order_are_not_set_against_each_other() -> None:
    summary = aggregate([record("lstm", 0.3, state_bytes=1_000)])
    assert [p.ours for p in pairs(entry({"lstm": [[7_900, 0.5], [8_100, 0.5]]}), summary)] == [0.3, None]


def test_scaled_scores_beyond_the_training_length() -> None:
    results = seeds("attention", [0.97, 0.98, 0.99], far=0.53125)
    (pair,) = pairs(entry({"attention": 0.25}, at="beyond", scaled=True), aggregate(results))
    assert pair.ours is not None
    assert abs(pair.ours - (0.53125 - 0.0625) / (1 - 0.0625)) < 1e-12
    told = table(entry({"attention": 0.25}, at="beyond", scaled=True), aggregate(results))
    assert told["rows"] == [["attention", "0.25", "0.50", "+0.25"]]
    assert "beyond the training length, 128" in told["what"]


def test_none_of_ours() -> None:
    assert finding(pairs(entry({"Based": 0.3}), aggregate(plain()))) == (
        "None of these mixers is in the study with a state of like size."
    )


def test_the_page_tells_and_draws_them() -> None:
    given = entry({"mamba": [[4_096, 0.5]], "Based": [[512, 0.875]]}, setting="There: <b>larger</b>.")
    study = {"mixers": [], "published": [given], "title": "A title", "about": "Why.", "notes": ["Tried twice."]}
    text = page_of(plain(), study=study)
    assert "<h1>A title</h1>" in text
    assert "Why." in text
    assert "Tried twice." in text
    assert "There: &lt;b&gt;larger&lt;/b&gt;." in text
    assert "0.88 at 512 B" in text
    assert "Based, published, 512 B: 0.88" in text
    assert "crosses: published" in text
    assert list(points(given)) == ["mamba", "Based"]
