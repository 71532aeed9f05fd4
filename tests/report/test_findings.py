"""What the page says of results made by hand. The words may change; who is named, with which figures, may not."""

from __future__ import annotations

import pytest

from seqmem.report.findings import findings, label_of
from seqmem.training.aggregate import aggregate
from seqmem.training.schema import Result
from tests.report.studies import MEMORY, crowded, lost, plain, record, seeds, wide


def said(results: list[Result], about: str) -> str:
    """The one sentence that begins with (or is about) ``about``."""
    sentences = [s for s in findings(aggregate(results), MEMORY) if s.startswith(about)]
    assert len(sentences) <= 1
    return sentences[0] if sentences else ""


def test_the_best_the_last_and_chance() -> None:
    text = said(plain(), "mqar:")
    assert text.startswith("mqar: attention is best with 0.980")
    assert "lstm is last with 0.250" in text
    assert "chance scores 0.062" in text
    bits = said(plain(), "bytes:")
    assert bits.startswith("bytes: mamba is best with 2.050")  # fewer bits are better
    assert "lstm is last with 2.600" in bits
    assert "4.500" in bits


def test_intervals_that_overlap_are_not_told_apart() -> None:
    # 95 % intervals: attention 0.98 ± 0.025, mamba 0.953 ± 0.117, lstm 0.25 ± 0.124
    assert "not told apart from mamba by 3 seeds" in said(plain(), "mqar:")
    assert "told apart" not in said([*seeds("attention", [0.9, 0.91]), *seeds("lstm", [0.1, 0.11])], "mqar:")


def test_single_seeds_have_no_interval_and_claim_nothing_about_it() -> None:
    text = said([record("attention", 0.9), record("lstm", 0.89)], "mqar:")
    assert "attention is best with 0.900" in text
    assert "seeds" not in text


def test_memory() -> None:
    text = said(plain(), "Memory on mqar")
    assert "mamba's, 2 KiB per sequence for 0.953" in text  # within a tenth of the best, in the fewest bytes
    assert "attention holds 31.2 KiB at 128 tokens" in text
    assert said(plain(), "Memory on bytes") == ""


def test_length() -> None:
    text = said(plain(), "Length on mqar")
    assert "4 times the training length" in text
    assert "mamba keeps" in text
    assert "attention loses" in text
    assert "lstm" not in text  # it had nothing to lose
    assert said([record("attention", 0.9, lengths=1), record("lstm", 0.8, lengths=1)], "Length") == ""


def test_speed() -> None:
    training, decoding = said(plain(), "Training"), said(plain(), "Decoding")
    assert training.index("lstm") < training.index("20k") < training.index("14.3k")
    assert decoding.index("mamba") < decoding.index("90 µs") < decoding.index("250 µs")


@pytest.mark.parametrize(("score", "task"), [(0.06, "mqar"), (6.5, "bytes")])
def test_nothing_above_chance_is_called_so(score: float, task: str) -> None:
    results = [record("attention", score, task), record("lstm", score, task)]
    sentences = findings(aggregate(results), MEMORY)
    assert "is best" not in " ".join(sentences)
    assert any("nothing beats" in s for s in sentences)
    assert not any(s.startswith(("Memory", "Length")) for s in sentences)


def test_a_single_mixer_is_not_compared() -> None:
    text = " ".join(findings(aggregate(seeds("lstm", [0.9, 0.95])), MEMORY))
    assert "0.925" in text
    assert "last" not in text
    assert "slowest" not in text


def test_nothing_finished_says_nothing() -> None:
    assert findings(aggregate(lost()), MEMORY) == []
    assert findings(aggregate([]), MEMORY) == []


def test_one_that_diverged_is_left_out_of_the_sentences() -> None:
    text = " ".join(findings(aggregate([record("attention", 0.9), record("mamba", 0.5), record("lstm", None)]), MEMORY))
    assert "lstm" not in text
    assert "mamba is last" in text


def test_labels() -> None:
    def labels(results: list[Result]) -> list[str]:
        summary = aggregate(results)
        return [label_of(row, summary) for row in summary["rows"]]

    assert labels([record("lstm", 0.5), record("a.b:Mine", 0.5)]) == ["lstm", "Mine"]
    assert labels([record("lstm", 0.5), record("lstm", 0.5, study_width=32)]) == ["lstm · 16", "lstm · 32"]
    assert labels([record("a:Mine", 0.5), record("b:Mine", 0.5)]) == ["a:Mine", "b:Mine"]
    of = [record("a.b:Mine", 0.5, mixer_options={"mode": mode}) for mode in ("x:y", "z")]
    assert labels(of) == ["Mine(mode=x:y)", "Mine(mode=z)"]
    for results in (plain(), wide(), crowded()):
        found = labels(results)
        assert len(set(found)) == len(found)
