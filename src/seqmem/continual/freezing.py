"""Keeping the bottom of a network as it is while the rest learns on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from seqmem.errors import InputError


def _blocks(model: nn.Module) -> nn.ModuleList:
    """The list of a model's blocks: its longest ModuleList."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise InputError(f"{type(model).__name__} has no nn.ModuleList of blocks; freeze its parameters by hand")
    return max(lists, key=len)


@contextmanager
def frozen_bottom(model: nn.Module, blocks: int, *, embeddings: bool = True) -> Iterator[list[str]]:
    """Within the context the first ``blocks`` blocks, and the input embeddings, take no gradient; yields the names of
    what was frozen. Works on any Hugging Face model and on SequenceLM.

    Spurious Forgetting in Continual Learning of Language Models (2025), arXiv 2501.13453. Output weights that are tied
    to the embeddings are frozen with them.
    """
    every = _blocks(model)
    if not 0 <= blocks <= len(every):
        raise InputError(f"blocks is {blocks}, expected 0 to {len(every)}, the number of the model's blocks")
    bottom = list(every[:blocks].parameters())
    if embeddings:
        getter: Any = getattr(model, "get_input_embeddings", None)
        found = getter() if getter is not None else None
        if found is None:
            raise InputError(f"{type(model).__name__} names no input embeddings; pass embeddings=False")
        bottom += list(found.parameters())
    chosen = {id(p) for p in bottom}
    frozen = [(name, p) for name, p in model.named_parameters() if id(p) in chosen and p.requires_grad]
    for _, p in frozen:
        p.requires_grad_(False)
    try:
        yield [name for name, _ in frozen]
    finally:
        for _, p in frozen:
            p.requires_grad_(True)
