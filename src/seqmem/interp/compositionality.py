"""Is a code compositional? Codes of bits against the concepts that they stand for.

codes: (strings, bits) of 0 and 1; concepts: (strings, concepts), the number of each concept's value.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from seqmem.errors import InputError

Assignment = Literal["greedy", "exhaustive", "association"]
MOST = 14  # bits whose assignments are all looked at


class ResidualEntropy(NamedTuple):
    """value: from 0, every concept is said by bits of its own, to 1. part: (bits,), the concept of each bit."""

    value: float
    part: tuple[int, ...]


def residual_entropy(codes: Tensor, concepts: Tensor, assignment: Assignment = "greedy") -> ResidualEntropy:
    """What is left open about each concept by the bits that stand for it, relative to what is open without them:

        re = 1/C sum_c H(concept_c | z[part_c]) / H(concept_c)

    for the best assignment of every bit to one concept (Capacity, Bandwidth, and Compositionality in Emergent Language
    Learning, 2019, arXiv 1910.11424). "exhaustive" finds it, for up to 14 bits; "greedy" gives away one bit after the
    other, always the one that helps most; "association", as in the authors' code, gives each bit to the concept whose
    values' shares of ones lie farthest from their mean. A concept that does not vary counts as 0. Entropies are those
    of the strings given: with few strings to a code they are too low.
    """
    _check(codes, concepts)
    if assignment not in get_args(Assignment):
        raise InputError(f"assignment is {assignment!r}, expected one of {', '.join(get_args(Assignment))}")
    bits, count = codes.shape[1], concepts.shape[1]
    if assignment == "exhaustive":
        if bits > MOST:
            raise InputError(f"codes have {bits} bits, expected at most {MOST} for 'exhaustive'; use 'greedy'")
        return _exhaustive(codes, concepts)
    if assignment == "association":
        strength = torch.stack([_association(codes, concepts[:, c]) for c in range(count)])  # (concepts, bits)
        part = strength.argmax(0).tolist()
    else:
        part = _greedy(codes, concepts)
    parts = [[bit for bit in range(bits) if part[bit] == c] for c in range(count)]
    left = [_open(codes[:, own], concepts[:, c]) for c, own in enumerate(parts)]
    return ResidualEntropy(sum(left) / count, tuple(part))


def topographic_similarity(codes: Tensor, concepts: Tensor) -> float:
    """Spearman's correlation, over pairs of strings, between how many concepts differ and how many bits do.

    Understanding Linguistic Evolution by Visualizing the Emergence of Topographic Mappings (2006), Artificial Life 12.
    NaN where one of the two is the same for all pairs.
    """
    from scipy.stats import spearmanr

    _check(codes, concepts)
    one, other = torch.triu_indices(len(codes), len(codes), 1)
    apart = [(x[one] != x[other]).sum(1).numpy() for x in (codes, concepts)]
    if any(x.min(initial=0) == x.max(initial=0) for x in apart):
        return float("nan")
    return float(spearmanr(*apart).statistic)


def recall(said: Tensor, meant: Tensor) -> float:
    """The share of strings (strings, answers) that are understood exactly."""
    if said.shape != meant.shape or said.ndim != 2:
        raise InputError(f"said {tuple(said.shape)} and meant {tuple(meant.shape)}, expected (strings, answers) twice")
    return float((said == meant).all(1).double().mean())


def precision(said: Tensor, kinds: Tensor) -> float:
    """The share of utterances (utterances, answers) that name each concept exactly once.

    kinds: (tokens,) the concept of each token, -1 for a token that is none. For utterances that a listener makes of
    codes drawn from the prior: how many codes mean something.
    """
    count = said.shape[1]
    concept = kinds[said]
    named = concept.sort(1).values == torch.arange(count)
    return float(named.all(1).double().mean())


def _check(codes: Tensor, concepts: Tensor) -> None:
    if codes.ndim != 2 or concepts.ndim != 2 or len(codes) != len(concepts) or not len(codes):
        raise InputError(
            f"codes {tuple(codes.shape)}, concepts {tuple(concepts.shape)}; expected (strings, bits) and (strings, "
            "concepts) of the same strings"
        )
    if not ((codes == 0) | (codes == 1)).all():
        raise InputError("codes have other values than 0 and 1, expected bits")


def _keys(codes: Tensor) -> Tensor:
    """A number for every row of bits."""
    return (codes.long() << torch.arange(codes.shape[1])).sum(1)


def _entropy(numbers: Tensor) -> float:
    """Of these whole numbers, in nats."""
    share = torch.unique(numbers, return_counts=True)[1].double() / len(numbers)
    return float(-(share * share.log()).sum())


def _open(bits: Tensor, concept: Tensor) -> float:
    """H(concept | bits) / H(concept), 0 where the concept does not vary."""
    whole = _entropy(concept)
    if whole == 0:
        return 0.0
    keys = torch.unique(_keys(bits), return_inverse=True)[1]
    both = keys * (int(concept.max()) + 1) + concept
    return max(0.0, _entropy(both) - _entropy(keys)) / whole


def _greedy(codes: Tensor, concepts: Tensor) -> list[int]:
    bits, count = codes.shape[1], concepts.shape[1]
    own: list[list[int]] = [[] for _ in range(count)]
    left = [1.0 if _entropy(concepts[:, c]) else 0.0 for c in range(count)]
    part = [-1] * bits

    def gain(bit: int, c: int) -> tuple[float, int]:
        return left[c] - _open(codes[:, [*own[c], bit]], concepts[:, c]), -len(own[c])

    gains = {(bit, c): gain(bit, c) for bit in range(bits) for c in range(count)}
    while gains:
        bit, c = max(gains, key=lambda pair: gains[pair])
        part[bit] = c
        own[c].append(bit)
        left[c] -= gains[bit, c][0]
        gains = {(b, d): gain(b, d) if d == c else old for (b, d), old in gains.items() if b != bit}
    return part


def _association(codes: Tensor, concept: Tensor) -> Tensor:
    """(bits,) how far, on average over the concept's values, the share of ones lies from its mean over them."""
    values = torch.unique(concept)
    share = torch.stack([codes[concept == value].double().mean(0) for value in values])  # (values, bits)
    return (share - share.mean(0)).abs().mean(0)


def _exhaustive(codes: Tensor, concepts: Tensor) -> ResidualEntropy:
    """Over all sets of bits for the first concepts: the least that can be left open with them and the next one's."""
    import numpy as np

    bits, count = codes.shape[1], concepts.shape[1]
    sets = np.arange(2**bits)
    chosen = [[bit for bit in range(bits) if one >> bit & 1] for one in sets.tolist()]
    best: Any = np.array([_open(codes[:, own], concepts[:, 0]) for own in chosen])
    taken: list[Any] = [sets]  # the last concept's set, for every set of all so far
    for c in range(1, count):
        new, which = np.full(2**bits, np.inf), np.zeros(2**bits, int)
        for own, members in enumerate(chosen):
            left = _open(codes[:, members], concepts[:, c])
            within = sets[sets & own == own]
            found = best[within ^ own] + left
            better = within[found < new[within]]
            new[better] = best[better ^ own] + left
            which[better] = own
        best = new
        taken.append(which)
    part, rest = [0] * bits, 2**bits - 1
    for c in range(count - 1, -1, -1):
        own = int(taken[c][rest])
        for bit in chosen[own]:
            part[bit] = c
        rest ^= own
    return ResidualEntropy(float(best[-1]) / count, tuple(part))
