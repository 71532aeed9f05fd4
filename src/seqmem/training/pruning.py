"""Taking away the smallest weights of any model, for good.

Learning both Weights and Connections for Efficient Neural Networks (2015), arXiv 1506.02626; for recurrent networks
Investigating Sparsity in Recurrent Neural Networks (2024), arXiv 2407.20601.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seqmem.errors import InputError


class Pruned(NamedTuple):
    """masks: of each weight, True where it is left. Gradients of the others are 0 from now on; an optimiser that was
    there before may still move them by its momentum, which :meth:`enforce` takes back. handles: the gradients' hooks.
    """

    weights: Mapping[str, nn.Parameter]
    masks: Mapping[str, Tensor]
    handles: tuple[RemovableHandle, ...]

    @torch.no_grad()
    def enforce(self) -> None:
        """Set what was taken away to 0 again; ``optimiser.register_step_post_hook(lambda *_: pruned.enforce())``."""
        for name, mask in self.masks.items():
            self.weights[name].mul_(mask)

    @property
    def left(self) -> int:
        """How many weights are left."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    def release(self) -> None:
        """Let the weights that are 0 learn again."""
        for handle in self.handles:
            handle.remove()


def prune_smallest(weights: Mapping[str, nn.Parameter], share: float) -> Pruned:
    """Set the ``share`` of smallest absolute values in each of these weights to 0, and keep them there in training.

    weights: by name, such as ``{n: p for n, p in model.named_parameters() if "weight_hh" in n}``; those of a gated cell
    are one matrix. Weights that are 0 already are the smallest.
    """
    if not 0 <= share <= 1 or not weights:
        raise InputError(f"prune_smallest: share {share!r} of {len(weights)} weights, expected 0 to 1 of at least one")
    masks, handles = {}, []
    for name, weight in weights.items():
        mask = torch.ones_like(weight, dtype=torch.bool)
        smallest = weight.detach().abs().flatten().argsort()[: round(share * weight.numel())]
        mask.view(-1)[smallest] = False
        masks[name] = mask
        handles.append(weight.register_hook(lambda gradient, mask=mask: gradient * mask))
    pruned = Pruned(dict(weights), masks, tuple(handles))
    pruned.enforce()
    return pruned
