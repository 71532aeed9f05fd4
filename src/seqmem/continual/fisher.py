"""The diagonal of the Fisher information: how much the model's answers depend on every single weight.

F_i = E_x E_{y ~ p(y|x)} [ (d log p(y|x) / d theta_i)^2 ]. What is called so differs between implementations; here the
kind is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from seqmem.errors import InputError, did_you_mean

#: exact: the expectation over the model's own answers, class by class. sampled: one answer drawn from the model per
#: example. empirical: the given answer. batch: the square of the mean gradient of a batch, which is no Fisher
#: information at all (it vanishes at an optimum) but is what several libraries compute under the name.
KINDS = ("exact", "sampled", "empirical", "batch")

Parameters = Mapping[str, Tensor]


def _logits(model: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    out = functional_call(model, dict(parameters), (x,))
    return out if isinstance(out, Tensor) else out.logits


def _log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(targets), summed over the positions where something is asked (-100: nothing is)."""
    asked = targets != -100
    log_p = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return (log_p * asked).sum()


def fisher_diagonal(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor | None = None,
    *,
    kind: str = "exact",
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    vectorise: bool = True,
) -> dict[str, Tensor]:
    """The diagonal Fisher information of every trainable parameter, by its name, averaged over examples.

    model: maps ``inputs`` (examples, ...) to logits (examples, classes), or (examples, time, classes), or to an object
    with such ``logits``. targets: (examples,) or (examples, time) int64, -100 where nothing is asked; "empirical" and
    "batch" need them, "sampled" only their -100. An example's likelihood is that of all its positions together.
    kind: one of :data:`KINDS`; "exact" costs a backward pass per class and is for (examples, classes) alone.
    generator: for "sampled". vectorise: per-example gradients through ``torch.func.vmap``; False takes one example at a
    time, for layers that cannot be mapped.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}.{did_you_mean(kind, KINDS)} Expected one of {', '.join(KINDS)}")
    if kind in ("empirical", "batch") and targets is None:
        raise InputError(f"the {kind} Fisher needs targets, none were given; pass targets= or kind='exact'")
    was_training = model.training
    model.eval()
    try:
        parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for start in range(0, len(inputs), batch_size):
            x = inputs[start : start + batch_size]
            y = None if targets is None else targets[start : start + batch_size]
            for name, part in _of_batch(model, parameters, x, y, kind, generator, vectorise).items():
                total[name] += part
        return {name: x / len(inputs) for name, x in total.items()}
    finally:
        model.train(was_training)


def _of_batch(
    model: nn.Module,
    parameters: Parameters,
    x: Tensor,
    y: Tensor | None,
    kind: str,
    generator: torch.Generator | None,
    vectorise: bool,
) -> dict[str, Tensor]:
    """Sums over a batch's examples."""

    def one(p: Parameters, x: Tensor, y: Tensor) -> Tensor:
        return _log_likelihood(_logits(model, p, x[None])[0], y)

    squares = _summed_squares(grad(one), parameters, vectorise)
    if kind == "empirical":
        assert y is not None
        return squares(x, y, None)
    if kind == "batch":
        assert y is not None
        whole = grad(lambda p: _log_likelihood(_logits(model, p, x), y) / len(x))(parameters)
        return {name: len(x) * g.square() for name, g in whole.items()}
    with torch.no_grad():
        p = _logits(model, parameters, x).softmax(-1)  # (examples, classes) or (examples, time, classes)
    if kind == "sampled":
        drawn = torch.multinomial(p.flatten(0, -2), 1, generator=generator).view(p.shape[:-1])
        return squares(x, drawn if y is None else drawn.masked_fill(y == -100, -100), None)
    if p.ndim != 2:
        raise InputError(
            f"the exact Fisher of logits {tuple(p.shape)} would sum over all answer sequences; "
            "expected (examples, classes); use kind='sampled'"
        )
    total: dict[str, Tensor] = {}
    for c in range(p.shape[-1]):
        part = squares(x, torch.full((len(x),), c, device=x.device), p[:, c])
        total = {name: g + total.get(name, 0) for name, g in part.items()}
    return total


def _summed_squares(
    gradient: Callable[..., Any], parameters: Parameters, vectorise: bool
) -> Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]:
    """(x, y, weights) -> the (weighted) sum over examples of squared gradients."""

    def squares(x: Tensor, y: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        weights = torch.ones(len(x), dtype=next(iter(parameters.values())).dtype) if weights is None else weights
        if vectorise:
            try:
                each = vmap(gradient, (None, 0, 0), randomness="error")(parameters, x, y)
            except NotImplementedError as error:
                raise InputError(f"per-example gradients: {error}; or pass vectorise=False (slower)") from error
            return {name: torch.einsum("b...,b->...", g.square(), weights) for name, g in each.items()}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        for xi, yi, wi in zip(x, y, weights, strict=True):
            for name, g in gradient(parameters, xi, yi).items():
                total[name] += wi * g.square()
        return total

    return squares


def fisher_overlap(first: Parameters, second: Parameters) -> float:
    """1 - d^2 with d^2 = 1/2 |sqrt(F/tr F) - sqrt(G/tr G)|^2, the Frechet distance of normalised diagonals: 1 where two
    tasks need the same weights, 0 where they need none in common (Overcoming catastrophic forgetting, 2017)."""
    if first.keys() != second.keys():
        raise InputError("fisher_overlap: the two belong to different parameters; compute both on one model")
    f = torch.cat([x.flatten() for x in first.values()]).double()
    g = torch.cat([second[name].flatten() for name in first]).double()
    return float((f / f.sum()).sqrt() @ (g / g.sum()).sqrt())
