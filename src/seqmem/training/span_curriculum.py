"""Learning to remember ever further back: curricula over N for a network with a head for every N.

Emergent mechanisms for long timescales depend on training curriculum and affect performance in memory tasks (2024),
arXiv 2309.12927. The tasks are those of :mod:`seqmem.tasks.bit_stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.state import map_state
from seqmem.tasks.bit_stream import KINDS, answers, bits

CURRICULA = ("single", "multi", "sliding", "none")
FIRST = 2  # the smallest N


class SpanNetwork(nn.Module):
    """A layer that reads a stream of bits, and for every N from 2 to ``most`` a linear head with two classes.

    mixer: any layer of ``y, state = mixer(x)`` with a ``width``; the heads see y. ``start``: its state begins as U(0,
    ``start``) in training where the layer has an ``initial_state``, as in the paper (0.1); 0: as the layer has it.
    """

    def __init__(self, mixer: nn.Module, *, most: int = 40, start: float = 0.1) -> None:
        super().__init__()
        if most < FIRST:
            raise InputError(f"SpanNetwork: most is {most}, expected the largest N of a head, at least {FIRST}")
        width = int(mixer.width)  # type: ignore[arg-type]
        self.mixer, self.most, self.start = mixer, most, start
        self.embed = nn.Embedding(2, width)
        self.heads = nn.Parameter(torch.empty(most - FIRST + 1, 2, width).uniform_(-(width**-0.5), width**-0.5))
        self.bias = nn.Parameter(torch.empty(most - FIRST + 1, 2).uniform_(-(width**-0.5), width**-0.5))

    def states(self, stream: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What the heads see after every bit: (batch, time) of 0 and 1 to (batch, time, width). With a generator the
        state begins at random."""
        state = None
        if generator is not None and self.start and hasattr(self.mixer, "initial_state"):

            def draw(part: Tensor) -> Tensor:
                return part + self.start * torch.rand(part.shape, generator=generator, dtype=part.dtype)

            state = map_state(draw, self.mixer.initial_state(stream.shape[0]))  # type: ignore[operator]
        y, _ = self.mixer(self.embed(stream), state)
        return y

    def answer(self, states: Tensor, spans: Sequence[int]) -> Tensor:
        """(..., width) to the heads' logits (..., spans, 2)."""
        if not spans or min(spans) < FIRST or max(spans) > self.most:
            raise InputError(f"SpanNetwork: spans {list(spans)}, expected some N from {FIRST} to {self.most}")
        chosen = [span - FIRST for span in spans]
        weight, bias = self.heads[chosen].flatten(0, 1), self.bias[chosen].flatten()
        return F.linear(states, weight, bias).unflatten(-1, (len(chosen), 2))

    def forward(self, stream: Tensor, spans: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Logits (batch, spans, 2) after the last bit."""
        return self.answer(self.states(stream, generator)[:, -1], spans)


@dataclass(frozen=True)
class SpanCurriculum:
    """Which N are trained, and which after these are learned.

    "single": one, then the next; "multi": all from ``first`` on, one more each time; "sliding": the same, but no more
    than ``window``, the smallest leaving; "none": all from ``first`` to ``last`` from the beginning.
    """

    kind: Literal["single", "multi", "sliding", "none"] = "multi"
    first: int = FIRST
    window: int = 5
    last: int = 10

    def __post_init__(self) -> None:
        if self.kind not in CURRICULA:
            raise InputError(f"SpanCurriculum: kind is {self.kind!r}, expected one of {', '.join(CURRICULA)}")
        if self.first < FIRST or self.window < 1 or self.last < self.first:
            raise InputError(
                f"SpanCurriculum: first {self.first}, window {self.window}, last {self.last}; expected N from {FIRST} "
                "on, at least one head in the window, and no last before the first"
            )

    @property
    def beginning(self) -> tuple[int, ...]:
        """What is trained first."""
        return tuple(range(self.first, self.last + 1)) if self.kind == "none" else (self.first,)

    def after(self, spans: tuple[int, ...]) -> tuple[int, ...]:
        """What is trained once ``spans`` are learned; () where nothing is left to do."""
        if self.kind == "none":
            return ()
        if self.kind == "single":
            return (spans[-1] + 1,)
        grown = (*spans, spans[-1] + 1)
        return grown if self.kind == "multi" else grown[-self.window :]


class SpanHistory(NamedTuple):
    """reached: the largest N learned, 0 for none. tokens: N to the bits that had been read when it was learned.
    spans: what was trained at the end. accuracy: of the last test, by N. curve: (bits read, what ``watch`` gave)."""

    reached: int
    tokens: dict[int, int]
    spans: tuple[int, ...]
    accuracy: dict[int, float]
    curve: list[tuple[int, float]]


def draw_streams(
    spans: Sequence[int], rows: int, kind: str, generator: torch.Generator, *, balanced: bool
) -> tuple[Tensor, Tensor]:
    """Streams of one random length from N + 2 to 4 N + 1, N the largest of ``spans``, and what is asked at their end:
    (rows, time) and (rows, spans)."""
    most = max(spans)
    length = int(torch.randint(most + 2, 4 * most + 2, (), generator=generator))
    stream = bits(rows, length, generator, balanced=balanced)
    return stream, answers(stream[:, -most:], spans, kind)[:, -1]


def train_spans(
    network: SpanNetwork,
    curriculum: SpanCurriculum,
    tokens: int,
    generator: torch.Generator,
    *,
    kind: str = "parity",
    batch: int = 128,
    rate: float = 0.05,
    optimiser: torch.optim.Optimizer | None = None,
    threshold: float = 0.98,
    every: int = 100,
    tests: int = 1024,
    balanced: bool | None = None,
    watch: Callable[[SpanNetwork], float] | None = None,
    on_learned: Callable[[int, SpanNetwork], None] = lambda span, network: None,
    report: Callable[[float, str], None] = lambda fraction, text: None,
) -> SpanHistory:
    """Train until ``tokens`` bits per row have been read, or nothing is left to learn.

    The loss is the sum of the heads' cross-entropies. ``every`` steps the accuracy of each head is measured on
    ``tests`` fresh streams; where the mean and the last are above ``threshold`` the curriculum goes on. ``optimiser``:
    default the paper's, SGD of ``rate`` with Nesterov momentum 0.1; the gradient's norm is at most 2. balanced: as in
    :func:`seqmem.tasks.bit_stream.bits`; by default only where bits are matched, as in the paper. watch: what to keep
    of the network at every test; on_learned: called with every N that is learned, and the network as it is then.
    """
    if kind not in KINDS:
        raise InputError(f"train_spans: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    even = kind == "match" if balanced is None else balanced
    optimiser = optimiser or torch.optim.SGD(network.parameters(), rate, momentum=0.1, nesterov=True)
    spans = curriculum.beginning
    learned: dict[int, int] = {}
    accuracy: dict[int, float] = {}
    curve: list[tuple[int, float]] = []
    read = step = 0
    while spans and max(spans) <= network.most and read < tokens:
        stream, wanted = draw_streams(spans, batch, kind, generator, balanced=even)
        logits = network(stream, spans, generator)  # (batch, spans, 2)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten()) * len(spans)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        read, step = read + stream.shape[1], step + 1
        if step % every:
            continue
        accuracy = _tested(network, spans, tests, kind, generator, even)
        report(min(1.0, read / tokens), f"N = {spans[-1]}: {accuracy[spans[-1]]:.2f}")
        if watch is not None:
            curve.append((read, watch(network)))
        if sum(accuracy.values()) / len(spans) > threshold and accuracy[spans[-1]] > threshold:
            for span in spans:
                if span not in learned:
                    learned[span] = read
                    on_learned(span, network)
            spans = curriculum.after(spans)
    trained = spans or tuple(accuracy)
    return SpanHistory(max(learned, default=0), learned, trained, accuracy, curve)


@torch.no_grad()
def _tested(
    network: SpanNetwork, spans: tuple[int, ...], rows: int, kind: str, generator: torch.Generator, balanced: bool
) -> dict[int, float]:
    """Over four batches, each of a length of its own."""
    right = torch.zeros(len(spans))
    for _ in range(4):
        stream, wanted = draw_streams(spans, rows // 4, kind, generator, balanced=balanced)
        right += (network(stream, spans, generator).argmax(-1) == wanted).float().mean(0)
    return dict(zip(spans, (right / 4).tolist(), strict=True))


def _read(
    network: SpanNetwork, spans: Sequence[int], generator: torch.Generator, kind: str, rows: int, length: int
) -> tuple[Tensor, Tensor]:
    """States (rows, length, width) in balanced streams whose first ``length`` // 4 bits, or as many as the largest N
    needs, are left out; and what is right after every bit (rows, length, spans)."""
    skipped = max(length // 4, max(spans))
    stream = bits(rows, length + skipped, generator)
    wanted = answers(stream, spans, kind)
    return network.states(stream)[:, skipped:], wanted[:, skipped:]


@torch.no_grad()
def span_accuracy(
    network: SpanNetwork,
    spans: Sequence[int],
    generator: torch.Generator,
    *,
    kind: str = "parity",
    rows: int = 64,
    length: int = 200,
    heads: Any = None,
) -> Tensor:
    """(spans,) the share of right answers after every bit but the first ``length`` // 4 of balanced streams. heads:
    what answers in place of the network's: states (..., width) to logits (..., spans, 2)."""
    states, wanted = _read(network, spans, generator, kind, rows, length)
    logits = network.answer(states, spans) if heads is None else heads(states)
    return (logits.argmax(-1) == wanted).double().mean((0, 1))


@torch.no_grad()
def refit_heads(
    network: SpanNetwork,
    spans: Sequence[int],
    generator: torch.Generator,
    *,
    kind: str = "parity",
    rows: int = 64,
    length: int = 200,
    ridge: float = 1e-3,
) -> Callable[[Tensor], Tensor]:
    """New linear heads for these N, also for N that were never trained, by least squares on the states of a network
    that is left as it is: what its activity holds, whatever its own heads make of it."""
    states, wanted = (part.flatten(0, 1) for part in _read(network, spans, generator, kind, rows, length))
    states = states.double()
    mean, scale = states.mean(0), states.std(0).clamp(min=1e-6)
    features = (states - mean) / scale
    gram = features.mT @ features + ridge * len(features) * torch.eye(features.shape[1], dtype=torch.float64)
    signs = 2.0 * wanted.double() - 1
    weights = torch.linalg.solve(gram, features.mT @ (signs - signs.mean(0)))

    def heads(states: Tensor) -> Tensor:
        score = ((states.double() - mean) / scale) @ weights + signs.mean(0)
        return torch.stack([-score, score], -1)

    return heads
