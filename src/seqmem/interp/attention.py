"""Attention matrices of any layer: the explicit ones, and the implicit ones of recurrences that are linear in what they
write (A Unified Implicit Attention Formulation for Gated-Linear Recurrent Sequence Models, 2024, arXiv 2405.16504)."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.families import Call, Layer, layers_of
from seqmem.interp.sites import resolve

CHUNK_NUMBERS = 2**24  # numbers of one piece of a matrix per channel: 64 MiB in float32


def attention_of(
    model: nn.Module,
    tokens: Tensor,
    *,
    layers: Iterable[int] | None = None,
    channels: slice = slice(None),
    reduce: str | None = None,
) -> dict[int, Tensor]:
    """``{layer: (batch, heads, time, time)}``: the weight of what position j wrote in what position i reads.

    tokens: (batch, time) int64, read from an empty memory, without gradients and in evaluation mode. Softmax attention
    gives its weights; a recurrence gives the exact matrix behind its inner output, which ``layers.N.attention`` with
    ``intervene`` reads again: per head for linear attention, retention, delta rules and Mamba-2, per channel (a channel
    is then a head) for minGRU, minLSTM, RG-LRU, Mamba and RWKV-4. Implicit weights may be negative and need not sum to
    1.

    layers: which; default all. channels: a slice of the heads or channels of each layer, cut before their matrices are
    made. reduce="mean_abs": the mean of |weight| over the heads, (batch, 1, time, time), made in pieces of heads, so
    that the memory is bounded for the families of transformers (a SequenceLM's mixer makes its matrix as one).
    InputError where a layer has no exact matrix, with the reason.
    """
    if reduce not in (None, "mean_abs"):
        raise InputError(f"reduce is {reduce!r}, expected None or 'mean_abs'")
    if reduce is None:
        return reduced_attention(model, tokens, lambda weights: weights, 1, layers=layers, channels=channels)
    return reduced_attention(
        model, tokens, lambda weights: weights.abs().mean(1, keepdim=True), None, layers=layers, channels=channels
    )


def reduced_attention(
    model: Any,
    tokens: Tensor,
    reduce: Callable[[Tensor], Tensor],
    join: int | None,
    *,
    layers: Iterable[int] | None = None,
    channels: slice = slice(None),
) -> dict[int, Tensor]:
    """``reduce`` of every layer's attention, piece by piece of its heads; pieces are joined along the axis ``join``, or
    averaged over the heads where that is None."""
    found = layers_of(model)
    chosen = range(len(found)) if layers is None else list(layers)
    sites = resolve(model, [f"layers.{index}.attention" for index in chosen])
    if tokens.ndim != 2 or tokens.shape[1] < 1:
        raise InputError(f"tokens has shape {tuple(tokens.shape)}, expected (batch, time >= 1)")
    results: dict[int, Tensor] = {}

    def watch(layer: Layer) -> Callable[..., None]:
        def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            call = Call(args, {**kwargs, "mixer": module}, output)
            assert layer.attention is not None  # resolve has seen to it
            pieces, counts = [], []
            for piece in _pieces(layer, channels, call.x):
                weights = layer.attention(call, piece)
                pieces.append(reduce(weights))
                counts.append(weights.shape[1])
            if not sum(counts):
                raise InputError(f"channels is {channels}, which leaves no head in layer {layer.index}")
            if join is not None:
                results[layer.index] = torch.cat(pieces, join)
            else:
                results[layer.index] = sum(p * (n / sum(counts)) for p, n in zip(pieces, counts, strict=True))  # type: ignore[assignment]

        return run

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        stack.enter_context(eager(model))
        for _, layer, _ in sites:
            stack.callback(layer.mixer.register_forward_hook(watch(layer), with_kwargs=True).remove)
        last_logits(model, tokens, 1)
    return results


def last_logits(model: Any, tokens: Tensor, count: int, **options: Any) -> Tensor:
    """The logits at the last ``count`` positions, (batch, count, vocabulary); the head is spared the others where the
    family lets it."""
    keep = {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    return model(tokens, **keep, **options).logits[:, -count:]


def _pieces(layer: Layer, channels: slice, x: Tensor) -> Iterator[slice]:
    """The heads in pieces whose matrices are not too large; one piece where they come all at once anyway."""
    if not layer.per_channel or layer.heads == 0:
        yield channels
        return
    start, stop, step = channels.indices(layer.heads)
    if step < 1:
        raise InputError(f"channels is {channels}, expected a slice with a positive step")
    size = max(1, CHUNK_NUMBERS // (x.shape[0] * x.shape[1] ** 2)) * step
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop), step)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def eager(model: Any) -> contextlib.AbstractContextManager[None]:
    """:func:`returning_weights` for the families with softmax attention; nothing for other models."""
    softmax = model.config.model_type in ("gpt2", "llama", "recurrent_gemma")
    return returning_weights(model) if softmax else contextlib.nullcontext()


@contextlib.contextmanager
def returning_weights(model: Any) -> Iterator[None]:
    """transformers' attention in the mode that returns its weights, where a model has several, and back."""
    before = getattr(model.config, "_attn_implementation", None)
    if before in (None, "eager"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
