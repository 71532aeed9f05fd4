"""The construction against looking up, and its parts where they are known."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.theory import NgramTransformer, sparsemax, table_lookup


def _table(n: int, symbols: int, generator: torch.Generator) -> torch.Tensor:
    weights = torch.rand(*[symbols + 1] * (n - 1), symbols, generator=generator, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("attention", ["hard", "sparse"])
def test_is_the_table(n, deep, attention, generator) -> None:
    table = _table(n, 3, generator)
    tokens = torch.randint(3, (2, 9), generator=generator)
    got = NgramTransformer(table, attention=attention, deep=deep)(tokens).exp()
    by_hand = torch.stack(
        [table[tuple(([3] * (n - 1) + row[: t + 1].tolist())[-(n - 1) :])] for row in tokens for t in range(9)]
    )
    torch.testing.assert_close(got, by_hand.view_as(got), rtol=0, atol=1e-12)
    torch.testing.assert_close(table_lookup(table, tokens), by_hand.view_as(got))


def test_soft_attention_tends_to_it(generator) -> None:
    table = _table(3, 3, generator)
    tokens = torch.randint(3, (2, 20), generator=generator)
    errors = [
        float(
            (NgramTransformer(table, attention="soft", sharpness=s)(tokens).exp() - table_lookup(table, tokens))
            .abs()
            .max()
        )
        for s in (1, 4, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-3
    assert errors[-1] < 1e-12


def test_what_never_happens_has_probability_nought() -> None:
    table = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    assert NgramTransformer(table)(torch.tensor([[0, 1]])).exp().tolist() == [[[0, 1], [1, 0]]]


def test_sparsemax(generator) -> None:
    z = 2 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    p = sparsemax(z)
    torch.testing.assert_close(p.sum(-1), torch.ones(50, dtype=torch.float64))
    assert (p == 0).any()
    # the nearest point of the simplex: z - p is the same wherever p > 0, and not larger elsewhere
    gap = z - p
    threshold = gap.where(p > 0, -torch.inf).amax(-1, keepdim=True)
    assert torch.allclose(gap.where(p > 0, threshold), threshold.expand_as(gap))
    assert (gap <= threshold + 1e-12).all()


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="expected \\(V \\+ 1"):
        NgramTransformer(torch.ones(2, 2))
    with pytest.raises(InputError, match="no probabilities"):
        NgramTransformer(torch.ones(3, 2))
    with pytest.raises(InputError, match="attention is"):
        NgramTransformer(torch.ones(3, 2) / 2, attention="max")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="of 0 to 1"):
        NgramTransformer(torch.ones(3, 2) / 2)(torch.tensor([[2]]))
