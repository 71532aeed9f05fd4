"""Random search, the comparison of best trials, and what settings explain."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.tree import DecisionTreeRegressor

from seqmem.errors import InputError
from seqmem.training.importance import boxes_of, importance, variances
from seqmem.training.random_search import Range, Trial, compare_best, draw_settings, random_search

SPACE = {"rate": Range(1e-6, 1e-2, log=True), "hidden": Range(20, 200, log=True, whole=True), "noise": Range(0, 1)}


def test_settings_are_even_on_their_scales(generator: torch.Generator) -> None:
    drawn = draw_settings(SPACE, 2000, generator)
    for name, one in SPACE.items():
        values = [settings[name] for settings in drawn]
        assert one.low <= min(values)
        assert max(values) <= one.high
        assert stats.kstest([one.share(value) for value in values], "uniform").statistic < 0.05
        assert one.value(one.share(one.high)) == pytest.approx(one.high)
    assert all(settings["hidden"] == int(settings["hidden"]) for settings in drawn)


def test_a_trial_that_diverged_has_the_worst_score(generator: torch.Generator) -> None:
    scores = iter([0.5, math.nan, math.inf, 3.0])
    trials = random_search(lambda settings: next(scores), SPACE, 4, generator, worst=2.0)
    assert [trial.score for trial in trials] == [0.5, 2.0, 2.0, 2.0]


def test_best_trials_are_compared_as_by_hand(generator: torch.Generator) -> None:
    """Welch's statistic and degrees of freedom, written out."""
    a, b = (torch.randn(12, generator=generator, dtype=torch.float64) for _ in range(2))
    found = compare_best([Trial({}, x) for x in a.tolist()], [Trial({}, x + 1) for x in b.tolist()], 0.25)
    best_a, best_b = a.sort().values[:3], b.sort().values[:3] + 1
    s, t = best_a.var() / 3, best_b.var() / 3
    difference = float(best_b.mean() - best_a.mean())
    freedom = float((s + t) ** 2 / (s**2 / 2 + t**2 / 2))
    assert found.difference == pytest.approx(difference)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(difference) / float(s + t) ** 0.5, freedom))
    assert found.worse == (found.p if difference > 0 else 1)
    assert math.isnan(compare_best([Trial({}, 1.0)] * 4, [Trial({}, 1.0)] * 4, 0.5).p)


def test_a_tree_is_taken_apart_exactly() -> None:
    """Against the tree's predictions in the middle of every cell of the product grid of all thresholds."""
    random = np.random.default_rng(0)
    x = random.random((60, 3))
    tree = (
        DecisionTreeRegressor(max_leaf_nodes=20, random_state=0).fit(x, x[:, 0] * x[:, 1] + np.sin(5 * x[:, 2])).tree_
    )
    edges = [np.unique([0, 1, *tree.threshold[(tree.feature == n) & (tree.children_left >= 0)]]) for n in range(3)]
    widths = [np.diff(e) for e in edges]
    grid = np.stack(np.meshgrid(*[(e[1:] + e[:-1]) / 2 for e in edges], indexing="ij"), -1)
    f = tree.predict(grid.reshape(-1, 3).astype(np.float32)).reshape(grid.shape[:3])
    f = f - np.einsum("ijk,i,j,k", f, *widths)
    total = np.einsum("ijk,i,j,k", f**2, *widths)
    found = variances(boxes_of(tree, 3))
    singles = {}
    for n, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        mean = np.einsum(f, [0, 1, 2], widths[a], [a], widths[b], [b], [n])
        singles[n] = mean**2 @ widths[n] / total
        assert found[(n,)] == pytest.approx(singles[n])
    for n, m in itertools.combinations(range(3), 2):
        (other,) = {0, 1, 2} - {n, m}
        mean = np.einsum(f, [0, 1, 2], widths[other], [other], [n, m])
        assert found[(n, m)] == pytest.approx(widths[n] @ mean**2 @ widths[m] / total - singles[n] - singles[m])


def test_an_additive_score_has_its_shares_and_no_interactions(generator: torch.Generator) -> None:
    """3 u + v: 9 parts in 10 are u's."""
    drawn = draw_settings(SPACE, 400, generator)
    trials = [Trial(s, 3 * SPACE["rate"].share(s["rate"]) + SPACE["noise"].share(s["noise"])) for s in drawn]
    found = importance(trials, SPACE, trees=20)
    assert found[("rate",)] == pytest.approx(0.9, abs=0.05)
    assert found[("noise",)] == pytest.approx(0.1, abs=0.05)
    assert found[("hidden",)] < 0.01
    assert max(found[pair] for pair in itertools.combinations(SPACE, 2)) < 0.03
    product = [Trial(s, (SPACE["rate"].share(s["rate"]) - 0.5) * (s["noise"] - 0.5)) for s in drawn]
    found = importance(product, SPACE, trees=20)
    assert found[("rate", "noise")] > 0.6
    assert math.isnan(importance([Trial(s, 1.0) for s in drawn], SPACE, trees=2)[("rate",)])


def test_mistakes_are_named(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="range of 'x' is 0 to 1, expected 0 < low < high"):
        draw_settings({"x": Range(0, 1, log=True)}, 2, generator)
    with pytest.raises(InputError, match="space is empty"):
        draw_settings({}, 2, generator)
    with pytest.raises(InputError, match="expected a fraction"):
        compare_best([Trial({}, 1.0)], [Trial({}, 1.0)])
    with pytest.raises(InputError, match=r"without \['noise'\]"):
        importance([Trial({"rate": 1e-3, "hidden": 20}, 1.0)] * 2, SPACE)
    whole = {"rate": 1e-3, "hidden": 20, "noise": 0.0}
    with pytest.raises(InputError, match="not finite"):
        importance([Trial(whole, 1.0), Trial(whole, math.nan)], SPACE)
