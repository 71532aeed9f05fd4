"""How many patches of an image must be seen together before anything is known of its label.

Visual Scratchpads: Enabling Global Reasoning in Vision (2024), arXiv 2410.08165: the globality degree is the smallest
number k of patches for which some k of them, with the histogram of all, have mutual information with the label that
does not vanish. Here it is estimated by what probes learn from such patches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp import fit_probe
from seqmem.models.sketch_vit import patches_of


class Known(NamedTuple):
    """What probes that see ``size`` patches and the histogram know of the label: ``bits`` of information, a lower bound
    of it, at least 0; ``error``, the share of wrong labels; ``patches``, which ones, counted row by row."""

    size: int
    bits: float
    error: float
    patches: tuple[int, ...]


def globality(
    images: Tensor,
    labels: Tensor,
    sizes: Sequence[int],
    *,
    patch: tuple[int, int],
    generator: torch.Generator,
    subsets: int = 3,
    kinds: int = 128,
    hidden: int = 64,
    steps: int = 200,
    rate: float = 3e-3,
) -> list[Known]:
    """One :class:`Known` for each of ``sizes``, 0 being the histogram alone.

    images: (image, rows, columns) int64, colours from 0. labels: (image,) int64. patch: rows and columns of one, which
    divide those of the image. At each size ``subsets`` random sets of patches are tried, or all where these are no
    more. Half of the images train a probe (:func:`seqmem.interp.fit_probe`, with ``hidden``, ``steps`` and ``rate``), a
    quarter chooses the set, and the bits, H(label) minus the probe's cross-entropy, are those of the last quarter. The
    histogram counts the ``kinds`` commonest patches, and all others together.
    """
    rows, columns = images.shape[1:]
    if rows % patch[0] or columns % patch[1] or len(labels) != len(images):
        raise InputError(
            f"globality: images {tuple(images.shape)}, {len(labels)} labels, patch {patch}; expected a label for each "
            "image, and a patch that divides its rows and columns"
        )
    patches = patches_of(images, patch)  # (image, patch, place)
    count = patches.shape[1]
    for size in sizes:
        if not 0 <= size <= count:
            raise InputError(f"globality: size {size}, expected 0 to {count}, as many patches as there are")
    histogram = _histogram(patches, kinds)
    colours = F.one_hot(patches, int(images.max()) + 1).flatten(2).float()  # (image, patch, place * colour)
    half, three = len(images) // 2, 3 * len(images) // 4
    share = labels[three:].bincount() / (len(labels) - three)
    entropy = float(-(share * share.clamp(min=1e-12).log2()).sum())
    found = []
    for size in sizes:
        tried = []
        for chosen in _subsets(count, size, subsets, generator):
            x = torch.cat([histogram, colours[:, chosen].flatten(1)], 1)
            probe = fit_probe(
                x[:half], labels[:half, None], hidden=hidden, steps=steps, rate=rate, decay=0.1, generator=generator
            )
            logits = probe(x[half:])[:, 0]
            loss = F.cross_entropy(logits, labels[half:], reduction="none") / math.log(2)
            chosen_on, judged = loss[: three - half], loss[three - half :]
            wrong = (logits.argmax(-1) != labels[half:])[three - half :].float().mean()
            known = Known(size, max(0.0, entropy - float(judged.mean())), float(wrong), tuple(chosen.tolist()))
            tried.append((float(chosen_on.mean()), known))
        found.append(min(tried)[1])
    return found


def globality_degree(known: Sequence[Known], threshold: float = 0.05) -> int | None:
    """The smallest of the sizes that knows at least ``threshold`` bits; None where none does."""
    return min((one.size for one in known if one.bits >= threshold), default=None)


def _subsets(count: int, size: int, most: int, generator: torch.Generator) -> list[Tensor]:
    if math.comb(count, size) <= most:
        return [torch.tensor(chosen, dtype=torch.int64) for chosen in itertools.combinations(range(count), size)]
    return [torch.rand(count, generator=generator).topk(size).indices.sort().values for _ in range(most)]


def _histogram(patches: Tensor, kinds: int) -> Tensor:
    """(image, kinds + 1): how often each image has each of the commonest patches, and any other."""
    _, kind, number = patches.flatten(0, 1).unique(dim=0, return_inverse=True, return_counts=True)
    rank = number.argsort(descending=True).argsort()  # 0 is the commonest
    kind = rank[kind].clamp(max=kinds).view(patches.shape[:2])
    return torch.zeros(len(patches), kinds + 1).scatter_add(1, kind, torch.ones(kind.shape))
