"""Recall statistics by hand and against psifr where it is installed; the recall model where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from seqmem.cognition import (
    cmr_curve,
    cmr_recall,
    first_recall,
    lag_crp,
    read_lists,
    serial_position,
    temporal_factor,
)
from seqmem.errors import InputError


def _table(lists: dict[tuple[str, int], tuple[str, str]]) -> list[dict[str, object]]:
    """(subject, list) -> (items studied, items recalled), a letter each."""
    return [
        {"subject": subject, "list": number, "trial_type": phase, "position": n, "item": item}
        for (subject, number), phases in lists.items()
        for phase, items in zip(("study", "recall"), phases, strict=True)
        for n, item in enumerate(items, 1)
    ]


def test_statistics_by_hand() -> None:
    lists = read_lists(_table({("a", 1): ("pqrs", "qrzqp"), ("a", 2): ("wxyz", "z"), ("b", 1): ("pqrs", "")}))
    assert lists.recalls.tolist() == [[1, 2, -1, -1, 0], [3, -2, -2, -2, -2], [-2] * 5]
    assert serial_position(lists).tolist() == [[0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]]
    assert first_recall(lists)[0].tolist() == [0, 0.5, 0, 0.5]
    assert np.isnan(first_recall(lists)[1]).all()
    lags, share = lag_crp(lists)
    # one step, from 1 to 2, where 0, 2 and 3 were left; from 2 an intrusion follows, from the repetition nothing
    assert lags.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    np.testing.assert_array_equal(share[0], [np.nan, np.nan, 0, np.nan, 1, 0, np.nan])
    assert temporal_factor(lists)[0] == pytest.approx((1 + 0.5) / 2)  # 3 is farther, 0 is as near


def test_equals_psifr() -> None:
    fr = pytest.importorskip("psifr.fr", reason="psifr is not installed")
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for subject in range(4):
        for number in range(6):
            words = [f"{subject}-{number}-{n}" for n in range(8)]
            said = [*rng.choice(words, 6, replace=True), "intruder", words[0]]
            rng.shuffle(said)
            rows += [
                {"subject": subject, "list": number, "trial_type": phase, "position": n, "item": item}
                for phase, items in (("study", words), ("recall", said))
                for n, item in enumerate(items, 1)
            ]
    data = fr.merge_free_recall(pd.DataFrame(rows))
    lists = read_lists(rows)

    def theirs(frame: pd.DataFrame, column: str, index: str) -> np.ndarray:
        frame = frame.reset_index()
        return frame.pivot(index="subject", columns=index, values=column).to_numpy()

    np.testing.assert_allclose(serial_position(lists), theirs(fr.spc(data), "recall", "input"), atol=1e-6)
    first = fr.pnr(data).reset_index()
    first = first[first["output"] == 1].pivot(index="subject", columns="input", values="prob").to_numpy()
    np.testing.assert_allclose(first_recall(lists), first, atol=1e-6)
    np.testing.assert_allclose(lag_crp(lists)[1], theirs(fr.lag_crp(data), "prob", "lag"), atol=1e-6)
    rank = fr.lag_rank(data).reset_index().sort_values("subject")["rank"].to_numpy()
    np.testing.assert_allclose(temporal_factor(lists), rank, atol=1e-6)


def test_wrong_tables_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no column item"):
        read_lists([{"subject": 1, "list": 1, "trial_type": "study", "position": 1}])
    with pytest.raises(InputError, match="expected one length"):
        read_lists(_table({("a", 1): ("pq", ""), ("a", 2): ("pqr", "")}))
    with pytest.raises(InputError, match="'study' or 'recall'"):
        read_lists([{"subject": 1, "list": 1, "trial_type": "test", "position": 1, "item": "x"}])
    with pytest.raises(InputError, match="cannot be read"):
        read_lists(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no study events"):
        read_lists([])


def test_the_model_recalls_forward_unless_the_past_is_brought_back() -> None:
    """Context that only holds items leads forward; context retrieved whole leads both ways alike."""

    def asymmetry(drift: float, gamma: float) -> float:
        rng = np.random.default_rng(0)
        recalls = cmr_recall(100, encoding=0.7, drift=drift, gamma=gamma, start=10, runs=300, rng=rng)
        lags, share = cmr_curve(recalls)
        return float(share[lags == 1][0] / max(share[lags == -1][0], 1e-9))

    assert asymmetry(0.7, 0.0) >= 3
    assert asymmetry(0.7, 0.0) > asymmetry(0.7, 0.5)


def test_the_model_with_one_step_of_memory() -> None:
    """encoding = 1 and drift = 1: every item leads to the next alone, and at the end recall stops."""
    recalls = cmr_recall(5, encoding=1, drift=1, gamma=0, start=1, runs=3, rng=np.random.default_rng(0), longest=6)
    assert recalls.tolist() == [[2, 3, 4, -1, -1, -1]] * 3
    with pytest.raises(InputError, match="encoding is 0"):
        cmr_recall(5, encoding=0, drift=1, gamma=0, start=1, runs=3, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="start is 5"):
        cmr_recall(5, encoding=1, drift=1, gamma=0, start=5, runs=3, rng=np.random.default_rng(0))
