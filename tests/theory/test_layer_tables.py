"""The tables of layers hold every layer, and a layer without a line says why."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.mixers import MIXERS, get_mixer
from seqmem.theory import attention_taxonomy, layer_horizon, taxonomy


def test_the_table_holds_every_layer() -> None:
    rows = taxonomy(16)
    assert [row["name"] for row in rows] == list(MIXERS)
    assert all(row["parameters"] > 0 and row["state"] > 0 and 1985 < row["year"] < 2030 for row in rows)


@pytest.mark.parametrize("name", MIXERS)
def test_every_layer_has_a_horizon_or_a_reason(name: str) -> None:
    found = layer_horizon(name, 8 if name != "mamba" else 4, 7, torch.Generator().manual_seed(0))
    if isinstance(found, str):
        assert MIXERS[name].memory != "constant" or not get_mixer(name).causal
    else:
        assert found.shape == (7,)
        assert found.isfinite().all()
        assert found[-1] > 0


def test_a_horizon_is_that_of_the_layer() -> None:
    """Linear attention adds and never forgets; a window forgets all at once."""
    sums = layer_horizon("linear_attention", 8, 12, torch.Generator().manual_seed(0))
    assert isinstance(sums, torch.Tensor)
    torch.testing.assert_close(sums, sums[-1].expand(12))
    assert layer_horizon("attention", 8, 12, torch.Generator()) == (
        "its memory grows: every position keeps an entry of its own, and none is worn by what comes after"
    )
    with pytest.raises(InputError, match="unknown mixer 'nothing'"):
        layer_horizon("nothing", 8, 12, torch.Generator())


def test_attention_as_it_is_measured() -> None:
    rows = {row["name"]: row for row in attention_taxonomy(16, 12)}
    assert set(rows) == {n for n in MIXERS if callable(getattr(get_mixer(n), "attention", None))}
    full, local, kept = rows["attention"], rows["local_attention"], rows["retention"]
    assert (full["positions"], full["sums"], full["signed"], full["matrices"]) == ("all", True, False, 4)
    assert (local["positions"], local["shared"]) == ("the last 4", "a memory of constant size")
    assert (kept["positions"], kept["sums"], kept["signed"]) == ("all", False, True)
