"""Measures of codes against brute force, scikit-learn's information and codes that are known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp import precision, recall, residual_entropy, topographic_similarity


def left_open(bits: Tensor, concept: Tensor) -> float:
    """H(concept | bits) / H(concept) through the mutual information of scikit-learn."""
    from sklearn.metrics import mutual_info_score

    keys = ["".join(map(str, row)) for row in bits.tolist()]
    whole = mutual_info_score(concept.tolist(), concept.tolist())
    return 1 - mutual_info_score(keys, concept.tolist()) / whole


def of_assignment(codes: Tensor, concepts: Tensor, part: tuple[int, ...]) -> float:
    count = concepts.shape[1]
    own = [[bit for bit, c in enumerate(part) if c == concept] for concept in range(count)]
    return sum(left_open(codes[:, bits], concepts[:, c]) for c, bits in enumerate(own)) / count


@pytest.fixture
def drawn(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Concepts, and bits of which some say something about them."""
    concepts = torch.randint(3, (60, 3), generator=generator)
    codes = torch.randint(2, (60, 5), generator=generator)
    codes[:, 1] = (concepts[:, 2] > 0).long()
    codes[:50, 3] = (concepts[:50, 0] + concepts[:50, 1]) % 2
    return codes, concepts


@pytest.mark.parametrize("assignment", ["greedy", "exhaustive", "association"])
def test_residual_entropy_is_that_of_its_assignment(drawn: tuple[Tensor, Tensor], assignment: str) -> None:
    found = residual_entropy(*drawn, assignment)  # type: ignore[arg-type]
    assert found.value == pytest.approx(of_assignment(*drawn, found.part), abs=1e-9)
    assert found.part[1] == 2


def test_exhaustive_finds_the_least(drawn: tuple[Tensor, Tensor]) -> None:
    every = [of_assignment(*drawn, part) for part in itertools.product(range(3), repeat=5)]
    found = residual_entropy(*drawn, "exhaustive").value
    assert found == pytest.approx(min(every), abs=1e-9)
    assert found <= residual_entropy(*drawn, "greedy").value + 1e-12
    assert found <= residual_entropy(*drawn, "association").value + 1e-12


def grid() -> tuple[Tensor, Tensor]:
    """All combinations of three concepts of four values, and two bits for each."""
    concepts = torch.cartesian_prod(*[torch.arange(4)] * 3)
    return torch.stack([concepts[:, c] >> bit & 1 for c in range(3) for bit in range(2)], 1), concepts


@pytest.mark.parametrize("assignment", ["greedy", "exhaustive"])
def test_a_code_with_bits_for_each_concept_leaves_nothing_open(generator: torch.Generator, assignment: str) -> None:
    codes, concepts = grid()
    found = residual_entropy(codes, concepts, assignment)  # type: ignore[arg-type]
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.part == (0, 0, 1, 1, 2, 2)
    dealt = codes[torch.randperm(64, generator=generator)]
    assert residual_entropy(dealt, concepts, assignment).value > 0.6  # type: ignore[arg-type]
    assert residual_entropy(codes * 0, concepts, assignment).value == 1  # type: ignore[arg-type]


def test_topographic_similarity(generator: torch.Generator) -> None:
    concepts = torch.cartesian_prod(*[torch.arange(2)] * 5)
    assert topographic_similarity(concepts, concepts) == pytest.approx(1)
    assert topographic_similarity(1 - concepts[:, [2, 0, 1, 4, 3]], concepts) == pytest.approx(1)
    codes, of = grid()
    assert topographic_similarity(codes, of) > 0.7
    assert abs(topographic_similarity(codes[torch.randperm(64, generator=generator)], of)) < 0.15
    assert math.isnan(topographic_similarity(codes * 0, of))
    # by hand: bits apart 1, 2, 1 and concepts apart 1, 2, 2: ranks 1.5 3 1.5 and 1 2.5 2.5
    three = topographic_similarity(torch.tensor([[0, 0], [0, 1], [1, 1]]), torch.tensor([[0, 0], [0, 1], [2, 2]]))
    assert three == pytest.approx(0.5)


def test_recall_and_precision() -> None:
    said = torch.tensor([[1, 3], [2, 4], [2, 3]])
    assert recall(said, torch.tensor([[1, 3], [2, 3], [2, 3]])) == pytest.approx(2 / 3)
    kinds = torch.tensor([-1, 0, 0, 1, 1])
    assert precision(torch.tensor([[1, 3], [4, 2], [1, 2], [0, 3]]), kinds) == 0.5  # any order, each concept once


def test_bad_input_says_so() -> None:
    codes, concepts = grid()
    with pytest.raises(InputError, match="expected one of greedy"):
        residual_entropy(codes, concepts, "best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="16 bits, expected at most 14"):
        residual_entropy(torch.zeros(64, 16, dtype=torch.long), concepts, "exhaustive")
    with pytest.raises(InputError, match="expected bits"):
        residual_entropy(codes + 1, concepts)
    with pytest.raises(InputError, match="of the same strings"):
        topographic_similarity(codes[1:], concepts)
    with pytest.raises(InputError, match="twice"):
        recall(codes, concepts)
