"""Taking heads out (Are Sixteen Heads Really Better than One?, 2019, arXiv 1905.10650)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.hooks import intervene, record


@contextlib.contextmanager
def ablate_heads(
    model: nn.Module,
    heads: Mapping[int, Iterable[int]],
    mode: str = "zero",
    *,
    reference: Tensor | None = None,
) -> Iterator[None]:
    """``with ablate_heads(model, {3: [0, 5]}): model(tokens)``: these heads contribute nothing to their layer.

    heads: ``{layer: heads}``. The part of the head in the input of the output projection is replaced: by zero, or with
    mode="mean" by its mean over the rows and positions of ``reference`` (batch, time) tokens, and where that is None,
    of the call itself (then later positions have a part in the mean). In grouped-query attention a head is a query
    head. Where a recurrence has no heads (GRU and LSTM kinds, RG-LRU, Mamba, RWKV-4), a channel counts as a head.
    InputError for a layer or head that is not there.
    """
    if mode not in ("zero", "mean"):
        raise InputError(f"mode is {mode!r}, expected 'zero' or 'mean'")
    if reference is not None and mode == "zero":
        raise InputError("reference is for mode='mean'; leave it out, or ask for the mean")
    chosen = {layer: sorted(set(which)) for layer, which in heads.items()}
    names = {layer: f"layers.{layer}.heads.out" for layer in chosen}
    means: dict[int, Tensor] = {}
    if reference is not None:
        with torch.no_grad(), evaluating(model), record(model, names.values()) as trace:
            model(reference)
        means = {layer: trace[name].mean((0, 1)) for layer, name in names.items()}

    def without(layer: int) -> Callable[[Tensor], Tensor]:
        def change(value: Tensor) -> Tensor:  # (batch, time, heads, head)
            which, count = chosen[layer], value.shape[2]
            if wrong := [head for head in which if not 0 <= head < count]:
                raise InputError(f"layer {layer} has heads 0 to {count - 1}, head {wrong[0]} was asked for")
            if mode == "zero":
                value[:, :, which] = 0
            else:
                value[:, :, which] = means.get(layer, value.mean((0, 1)))[which].to(value.dtype)
            return value

        return change

    with intervene(model, {names[layer]: without(layer) for layer in chosen}):
        yield
