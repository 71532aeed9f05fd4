"""LSSL, per channel:  x' = A x + B u,  y = C x + D u,  discretised:  x_t = A' x_{t-1} + B' u_t."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._complex_state import log_uniform, wide
from seqmem.mixers._hippo import MEASURES, basis, hippo
from seqmem.mixers._packing import Packing, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer

CHUNK = 32


class LSSLState(NamedTuple):
    """coefficients: (batch, width, state)."""

    coefficients: Tensor


class LSSL(Mixer):
    """The linear state-space layer (Combining Recurrent, Convolutional, and Continuous-time Models with Linear
    State-Space Layers, 2021, arXiv 2110.13985).

    Every channel has a system of its own, ``state`` coefficients wide. A and B begin as a HiPPO matrix (``measure``:
    "legs", "legt" or "laguerre") or as random numbers ("random", the baseline), and stay (``learned=False``, the
    paper's LSSL-fixed) or are trained with the time step. dt, one per channel, is log-uniform between ``shortest`` and
    ``longest``; ``rate`` multiplies it, so that data sampled at another rate are read with the same weights.
    ``alpha``: of the generalised bilinear transform, 0 Euler, 1/2 bilinear, 1 backward Euler. Behind it GELU and a
    projection.

    Three views of one layer: form "recurrent" goes step by step, "chunk" is the convolution on pieces of 32 positions
    with the state handed on, and :meth:`convolve` the whole convolution by FFT, whose filter is :meth:`kernel`; "auto"
    is "chunk", for a single position "recurrent". :meth:`recall` reads the past out of a state.
    """

    a: Tensor
    b: Tensor
    log_step: Tensor
    forms: ClassVar[tuple[str, ...]] = ("chunk", "recurrent")

    def __init__(
        self,
        width: int,
        *,
        state: int = 32,
        measure: str = "legs",
        learned: bool = False,
        shortest: float = 1e-3,
        longest: float = 1e-1,
        alpha: float = 0.5,
        rate: float = 1.0,
    ) -> None:
        super().__init__(width)
        if state < 1:
            raise InputError(f"LSSL: state is {state!r}, expected at least 1")
        if not (0 < shortest <= longest and rate > 0 and 0 <= alpha <= 1):
            raise InputError(
                f"LSSL: time steps from {shortest} to {longest}, rate {rate}, alpha {alpha}; expected 0 < shortest <= "
                "longest, rate > 0 and alpha in [0, 1]"
            )
        self.state, self.measure, self.alpha, self.rate = state, measure, alpha, rate
        if measure == "random":
            a, b = torch.randn(state, state) * state**-0.5 - torch.eye(state), torch.randn(state)
        elif measure in MEASURES:
            a, b = hippo(measure, state)
        else:
            raise InputError(f"LSSL: measure is {measure!r}, expected one of {', '.join(MEASURES)}, random")
        for name, value in (("a", a.float()), ("b", b.float()), ("log_step", log_uniform(width, shortest, longest))):
            if learned:
                setattr(self, name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.reading = nn.Parameter(torch.randn(width, state) * state**-0.5)  # C
        self.skip = nn.Parameter(torch.randn(width))  # D
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size: int) -> LSSLState:
        """Zeros: nothing was read."""
        return LSSLState(self.skip.new_zeros(batch_size, self.width, self.state))

    def forward(
        self,
        x: Tensor,
        state: LSSLState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, LSSLState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        x = wide(at_padding(x, mask, 0).to(self.skip.dtype))
        if x.shape[1] == 1:
            return self._step(x, state, mask, reset)
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        packing = pack(mask, reset)
        u = to_front(packing, x)
        with torch.autocast(x.device.type, enabled=False):
            y, coefficients = self._chunks(u, wide(state.coefficients), packing)
        return self._close(x, to_place(packing, y)), LSSLState(coefficients)

    def discretised(self) -> tuple[Tensor, Tensor]:
        """A' (width, state, state) and B' (width, state):  (I - alpha dt A) A' = I + (1 - alpha) dt A,
        (I - alpha dt A) B' = dt B.
        """
        a, b, step = wide(self.a), wide(self.b), self.rate * wide(self.log_step).exp()[:, None, None]
        one = torch.eye(self.state, dtype=a.dtype, device=a.device)
        right = torch.cat([one + (1 - self.alpha) * step * a, step * b[:, None]], -1)
        solved = torch.linalg.solve(one - self.alpha * step * a, right)
        return solved[..., :-1], solved[..., -1]

    def kernel(self, time: int) -> Tensor:
        """(width, time): C A'^l B'; from an empty memory the layer reads  sum_l kernel[:, l] x_{t-l} + D x_t."""
        decay, write = self.discretised()
        return torch.einsum("hln,hn->hl", self._written(powers(decay, time), write), wide(self.reading))

    def convolve(self, x: Tensor) -> Tensor:
        """y (batch, time, width) from an empty memory, as one convolution by FFT."""
        self.check_input(x, None, None, "auto")
        u, time = wide(x), x.shape[1]
        spectrum = torch.fft.rfft(u, n=2 * time, dim=1) * torch.fft.rfft(self.kernel(time).mT, n=2 * time, dim=0)
        return self._close(u, torch.fft.irfft(spectrum, n=2 * time, dim=1)[:, :time])

    def recall(self, state: LSSLState, lags: Tensor) -> Tensor:
        """What the layer read ``lags`` positions (count,) before the last, out of its state alone: (batch, width,
        count). Exact for what the polynomials of the measure can say, as long as A and B are those of the measure.
        """
        if self.measure == "random":
            raise InputError("LSSL: recall needs the polynomials of a measure; this layer began with random numbers")
        age = (
            lags * self.rate * self.log_step.detach().double().exp()[:, None]
        )  # (width, count), in units of the measure
        return torch.einsum(
            "bhn,hcn->bhc", state.coefficients, basis(self.measure, self.state, age).to(self.skip.dtype)
        )

    def _step(self, x: Tensor, state: LSSLState, mask: Tensor | None, reset: Tensor | None) -> tuple[Tensor, LSSLState]:
        decay, write = self.discretised()
        before = wide(state.coefficients)
        if reset is not None:
            before = before.masked_fill(reset[..., None], 0)
        after = torch.einsum("hnm,bhm->bhn", decay, before) + write * x[:, 0, :, None]
        if mask is not None:
            after = torch.where(mask[..., None], after, before)
        return self._close(x, (after * wide(self.reading)).sum(-1)[:, None]), LSSLState(after)

    def _chunks(self, u: Tensor, x0: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """C x_t, (batch, time, width), and the last state, for rows whose real positions come first."""
        batch, time, _ = u.shape
        decay, write = self.discretised()
        step = min(CHUNK, time)
        power = powers(decay, step + 1)  # (width, step + 1, state, state), A'^0 first
        written = self._written(power[:, :step], write)  # (width, step, state)
        lag = torch.arange(step, device=u.device)
        lag = (lag[:, None] - lag).clamp_min(0)
        kernel = torch.einsum("hln,hn->hl", written, wide(self.reading))[:, lag].tril()  # (width, t, j)
        carried = torch.einsum("hn,htnm->htm", wide(self.reading), power[:, 1:])  # what C reads of the state handed on
        count = torch.full((batch,), time, device=u.device) if packing.real is None else packing.real.sum(1)
        current = torch.zeros(batch, dtype=torch.long, device=u.device)  # the document that x0 belongs to
        outputs = []
        for start in range(0, time, step):
            part = u[:, start : start + step]
            size, real = part.shape[1], (count - start).clamp(0, part.shape[1])  # real: (batch,)
            document = None if packing.document is None else packing.document[:, start : start + step]
            y = self._read(part, x0, kernel[:, :size, :size], carried[:, :size], document, current)
            outputs.append(y)
            if packing.real is None and document is None:  # every row is read to the end of the piece
                new = torch.einsum("hjn,bjh->bhn", written[:, :size].flip(1), part)
                x0 = new + torch.einsum("hnm,bhm->bhn", power[:, size], x0)
            else:
                x0, current = self._hand_on(part, x0, written, power, real, document, current)
        if packing.last is not None:
            x0 = x0.masked_fill((packing.last > current)[:, None, None], 0)
        return torch.cat(outputs, 1), x0

    def _read(
        self, u: Tensor, x0: Tensor, kernel: Tensor, carried: Tensor, document: Tensor | None, current: Tensor
    ) -> Tensor:
        of_state = torch.einsum("htm,bhm->bth", carried, x0)
        if document is None:
            return torch.einsum("htj,bjh->bth", kernel, u) + of_state
        same = (document[:, :, None] == document[:, None, :]).to(u.dtype)  # (batch, t, j)
        of_inputs = torch.einsum("htj,btj,bjh->bth", kernel, same, u)
        return of_inputs + of_state.masked_fill((document != current[:, None])[..., None], 0)

    def _hand_on(
        self,
        u: Tensor,
        x0: Tensor,
        written: Tensor,
        power: Tensor,
        real: Tensor,
        document: Tensor | None,
        current: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The state after the last of ``real`` positions of each row, and the document that it belongs to."""
        place = torch.arange(u.shape[1], device=u.device)
        counts = place < real[:, None]  # (batch, j)
        keeps = torch.ones_like(real, dtype=torch.bool)
        if document is not None:
            last = document.gather(1, (real - 1).clamp_min(0)[:, None])[:, 0].where(real > 0, current)
            counts, keeps, current = counts & (document == last[:, None]), last == current, last
        lag = (real[:, None] - 1 - place).clamp_min(0)
        new = torch.einsum("hbjn,bjh->bhn", written[:, lag], u.masked_fill(~counts[..., None], 0))
        old = torch.einsum("hbnm,bhm->bhn", power[:, real], x0)
        return new + old.masked_fill(~keeps[:, None, None], 0), current

    @staticmethod
    def _written(power: Tensor, write: Tensor) -> Tensor:
        """A'^l B', (width, time, state)."""
        return torch.einsum("hlnm,hm->hln", power, write)

    def _close(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(F.gelu(y + self.skip * x).to(self.out.weight.dtype))


def powers(matrix: Tensor, count: int) -> Tensor:
    """matrix^0 ... matrix^(count - 1), by doubling: (..., n, n) -> (..., count, n, n)."""
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    found, square = one.unsqueeze(-3), matrix  # square: matrix^(powers found so far)
    while found.shape[-3] < count:
        found = torch.cat([found, found @ square.unsqueeze(-3)], -3)
        square = square @ square
    return found[..., :count, :, :]
