"""Probes: what can be read from activations, linearly or with one hidden layer, and what changes when it is changed.

A probe names one of ``classes`` for each of ``targets`` things (say, the colour of every square of a board) from one
vector. Emergent World Representations (2022), arXiv 2210.13382, has the probes, the interventions through them and the
latent saliency maps; linear probes with a control: Designing and Interpreting Probes (2019), arXiv 1909.03368.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.hooks import intervene, record
from seqmem.tasks.base import IGNORE  # the label of a thing that is not to be learned, judged or changed


class Probe(nn.Module):
    """``W x + b``, or with ``hidden`` units ``W_1 relu(W_2 x + b_2) + b_1``: (..., width) -> logits (..., targets,
    classes). The targets share the hidden units. x is first standardised by the mean and deviation of what
    :func:`fit_probe` was given."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, targets: int, classes: int, *, hidden: int = 0) -> None:
        super().__init__()
        for name, value, least in (("width", width, 1), ("targets", targets, 1), ("classes", classes, 2)):
            if value < least:
                raise InputError(f"Probe: {name} is {value}, expected at least {least}")
        if hidden < 0:
            raise InputError(f"Probe: hidden is {hidden}, expected a number of units, 0 for a linear probe")
        self.targets, self.classes = targets, classes
        self.up = nn.Linear(width, hidden) if hidden else None
        self.out = nn.Linear(hidden or width, targets * classes)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x = (x.to(self.mean.dtype) - self.mean) / self.scale
        if self.up is not None:
            x = torch.relu(self.up(x))
        return self.out(x).unflatten(-1, (self.targets, self.classes))


def fit_probe(
    activations: Tensor,
    labels: Tensor,
    *,
    hidden: int = 0,
    classes: int | None = None,
    steps: int = 500,
    batch: int = 512,
    rate: float = 1e-2,
    decay: float = 0.01,
    generator: torch.Generator,
) -> Probe:
    """A probe of ``activations``, (..., width), for ``labels``, (..., targets) int64, IGNORE where there is none.

    hidden: units of the hidden layer; 0: a linear probe. classes: default, one more than the largest label. ``steps``
    of AdamW on the mean cross-entropy of random batches, the rate falling to 0 along a cosine. All randomness comes
    from ``generator``.
    """
    x, y = _rows(activations, labels)
    asked = y[y != IGNORE]
    count = int(asked.max()) + 1 if classes is None and len(asked) else classes or 0
    if not len(asked) or asked.min() < 0 or asked.max() >= max(count, 2):
        seen = f"from {int(asked.min())} to {int(asked.max())}" if len(asked) else "none"
        raise InputError(f"fit_probe: labels are {seen}, expected 0 to {max(count, 2) - 1}, or {IGNORE} for no label")
    probe = Probe(x.shape[1], y.shape[1], max(count, 2), hidden=hidden).to(x.device)
    with torch.no_grad():
        for linear in (probe.up, probe.out):
            if linear is not None:
                bound = linear.in_features**-0.5
                linear.weight.copy_((2 * torch.rand(linear.weight.shape, generator=generator) - 1) * bound)
                linear.bias.zero_()
        probe.mean.copy_(x.mean(0))
        probe.scale.copy_(x.std(0).clamp(min=1e-6))
    optimiser = torch.optim.AdamW(probe.parameters(), rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        loss = F.cross_entropy(probe(x[rows]).flatten(0, 1), y[rows].flatten(), ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return probe.eval().requires_grad_(False)


@torch.no_grad()
def probe_error(probe: Probe, activations: Tensor, labels: Tensor) -> float:
    """The share of labels that the probe does not name."""
    x, y = _rows(activations, labels)
    asked = y != IGNORE
    wrong = torch.cat([probe(some).argmax(-1) for some in x.split(4096)]) != y
    return float(wrong[asked].float().mean())


def move(
    x: Tensor, probe: Callable[[Tensor], Tensor], wanted: Tensor, *, steps: int = 100, rate: float = 0.01
) -> Tensor:
    """``x``, (batch, width), moved so that ``probe`` reads ``wanted``, (batch, targets), from it: ``steps`` of Adam on
    the cross-entropy summed over targets, at ``rate`` times each row's root mean square. IGNORE leaves a target free.
    """
    size = x.detach().square().mean(-1, keepdim=True).sqrt()
    with torch.enable_grad():
        shift = torch.zeros_like(x, requires_grad=True)
        optimiser = torch.optim.Adam([shift], rate)
        for _ in range(steps):
            logits = probe(x.detach() + size * shift)  # (batch, targets, classes)
            loss = F.cross_entropy(logits.flatten(0, -2), wanted.flatten(), ignore_index=IGNORE, reduction="sum")
            (shift.grad,) = torch.autograd.grad(loss, [shift])
            optimiser.step()
    return x + size * shift.detach()


@contextlib.contextmanager
def steer(
    model: nn.Module,
    probes: Mapping[str, Probe],
    wanted: Tensor,
    *,
    position: int = -1,
    steps: int = 100,
    rate: float = 0.01,
) -> Iterator[None]:
    """``with steer(model, {"layers.2.resid.out": probe}, wanted): model(tokens)``: at each site the activation at
    ``position`` is moved (:func:`move`) so that the site's probe reads ``wanted``, (batch, targets), and the model goes
    on with that.

    Where several sites are named they are changed one after the other, each as the changes before left it. Sites: those
    of (batch, time, width).
    """

    def change(site: str) -> Callable[[Tensor], Tensor]:
        def function(value: Tensor) -> Tensor:
            if value.ndim != 3 or len(value) != len(wanted):
                raise InputError(
                    f"steer: '{site}' is {tuple(value.shape)} and wanted has {len(wanted)} rows, expected "
                    "(batch, time, width) and a row of labels for each"
                )
            value[:, position] = move(value[:, position], probes[site], wanted, steps=steps, rate=rate)
            return value

        return function

    with intervene(model, {site: change(site) for site in probes}):
        yield


@torch.no_grad()
def latent_saliency(
    model: nn.Module,
    tokens: Tensor,
    probes: Mapping[str, Probe],
    labels: Tensor,
    flipped: Tensor,
    *,
    answer: Tensor | None = None,
    steps: int = 100,
    rate: float = 0.01,
) -> Tensor:
    """(batch, targets): how much the last position's logit of ``answer`` falls when one target is represented as
    ``flipped``, all others as they are. NaN where ``flipped`` is IGNORE. Positive: the model relies on it.

    tokens: (batch, time) for a causal language model whose call returns ``.logits``. labels, flipped: (batch, targets).
    answer: (batch,) token ids; default, what the model says. Other arguments: :func:`steer`.
    """
    plain = model(tokens).logits[:, -1]
    said = plain.argmax(-1) if answer is None else answer
    found = torch.full(labels.shape, float("nan"), dtype=plain.dtype)
    for target in range(labels.shape[1]):
        rows = (flipped[:, target] != IGNORE).nonzero()[:, 0]
        if not len(rows):
            continue
        wanted = labels[rows].clone()
        wanted[:, target] = flipped[rows, target]
        with steer(model, probes, wanted, steps=steps, rate=rate):
            moved = model(tokens[rows]).logits[:, -1]
        found[rows, target] = (plain[rows] - moved).gather(1, said[rows, None])[:, 0]
    return found


@torch.no_grad()
def activations_at(model: nn.Module, site: str, tokens: Tensor, *, rows: int = 64) -> Tensor:
    """The value of a site, (batch, time, width), for many rows of tokens, ``rows`` at a time."""
    kept = []
    for some in tokens.split(rows):
        with record(model, site) as trace:
            model(some)
        kept.append(trace[site])
    return torch.cat(kept)


def _rows(activations: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(row, width) and (row, targets)."""
    if activations.ndim < 2 or labels.shape[:-1] != activations.shape[:-1] or labels.dtype != torch.int64:
        raise InputError(
            f"activations are {tuple(activations.shape)} and labels {tuple(labels.shape)} of {labels.dtype}, expected "
            "(..., width) and (..., targets) int64 with the same ..."
        )
    return activations.detach().flatten(0, -2).float(), labels.flatten(0, -2)
