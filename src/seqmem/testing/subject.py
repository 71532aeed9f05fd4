"""The layer under test: fresh seeded copies of it, a call that inspects what comes back, how answers are compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seqmem.errors import InputError, line_of
from seqmem.mixers import get_mixer
from seqmem.mixers.state import State, tensors

NOISE = 0.05  # standard deviation of what is added to the weights
EXACT = 1e-9  # the bound in float64
SINGLE = 1e-4  # the bound in float32


@dataclass(frozen=True)
class Measure:
    """One thing that was measured and held."""

    text: str
    value: float | None = None
    bound: float | None = None
    applicable: bool = True


class Violation(Exception):
    """One thing that does not hold, in a line that says what to look for."""

    def __init__(self, text: str, value: float | None = None, bound: float | None = None) -> None:
        super().__init__(text)
        self.value = value
        self.bound = bound


def one_line(error: BaseException) -> str:
    """``"ValueError: what it said"`` on one line of moderate length."""
    text = line_of(error)
    return f"{type(error).__name__}: {text[:237] + '...' if len(text) > 240 else text}"


class Subject:
    """Builds copies of a layer from a name, a class or a function of the width; InputError where it cannot."""

    def __init__(self, target: str | Callable[[int], nn.Module], width: int, seed: int) -> None:
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise InputError(f"width is {width!r}, expected a whole number of at least 1")
        self.width = width
        self.seed = seed
        self.make: Callable[[int], nn.Module]
        if isinstance(target, str):
            self.label = target
            self.make = get_mixer(target)
        elif isinstance(target, nn.Module) or not callable(target):
            raise InputError(
                f"given an instance of {type(target).__name__}, expected a class or a function of the width"
            )
        else:
            self.label = getattr(target, "__qualname__", repr(target))
            self.make = target
        layer = self._build(seed)
        self.memory: Any = getattr(layer, "memory", None)
        self.causal = bool(getattr(layer, "causal", True))
        declared = getattr(layer, "forms", ())
        if not (isinstance(declared, (tuple, list)) and all(isinstance(form, str) for form in declared)):
            raise InputError(
                f"{self.label}.forms is {declared!r}, expected a tuple of names such as ('parallel', 'recurrent')"
            )
        self.forms = tuple(declared)
        self.takes_form = accepts(layer, "form")
        self.noise_scale = NOISE
        if not self._finite():  # noise drives the weights out of their domain
            self.noise_scale = 0.0

    def _build(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                layer = self.make(self.width)
            except Exception as error:
                raise InputError(
                    f"{self.label}({self.width}) raised {one_line(error)}; expected a layer from Class(width) alone"
                ) from error
        if not isinstance(layer, nn.Module):
            raise InputError(f"{self.label}({self.width}) gave {type(layer).__name__}, expected a torch.nn.Module")
        return layer.eval()

    def layer(self, dtype: torch.dtype = torch.float64, *, noise: bool = True, copy: int = 0) -> nn.Module:
        """A fresh layer in eval mode, its weights moved by ``noise``. ``copy`` numbers layers of different weights."""
        layer = cast(self._build(self.seed + copy), dtype)
        generator = self.generator(1000 + copy)
        with torch.no_grad():
            for p in layer.parameters() if noise else ():
                if not is_lazy(p) and (p.is_floating_point() or p.is_complex()):
                    p.add_(self.noise_scale * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        return layer

    @torch.no_grad()
    def _finite(self) -> bool:
        try:
            return bool(torch.isfinite(run(self.layer(), self.noise(1, 8))[0]).all())
        except Violation:
            return True  # the points will say what is wrong

    def generator(self, salt: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 7919 + salt)

    def noise(self, batch: int, time: int, *, salt: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal input (batch, time, width)."""
        return torch.randn(batch, time, self.width, generator=self.generator(salt), dtype=torch.float64).to(dtype)

    def every_form(self) -> tuple[str | None, ...]:
        """The default form (None) and each that can be forced."""
        return (None, *self.forms) if self.takes_form else (None,)


def accepts(layer: nn.Module, keyword: str) -> bool:
    """Whether ``layer.forward`` can be given ``keyword``."""
    try:
        parameters = inspect.signature(layer.forward).parameters
    except (TypeError, ValueError):  # not written in Python: the call will tell
        return True
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def cast(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The layer with real tensors in ``dtype`` and complex ones in its complex companion."""

    def convert(t: Tensor) -> Tensor:
        return t.to(dtype.to_complex()) if t.is_complex() else t.to(dtype) if t.is_floating_point() else t

    return layer._apply(convert)


def run(
    layer: nn.Module,
    x: Tensor,
    state: State = None,
    *,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    form: str | None = None,
) -> tuple[Tensor, State]:
    """``layer(x, state, ...)``, or a Violation that says what is wrong with the call or with what it returned."""
    keywords: dict[str, Any] = {"mask": mask, "reset": reset, "form": form}
    keywords = {name: value for name, value in keywords.items() if value is not None}
    for name in keywords:
        if not accepts(layer, name):
            raise Violation(f"forward() does not accept {name}")
    try:
        result = layer(x, **keywords) if state is None else layer(x, state, **keywords)
    except Exception as error:
        given = ["x"] + ["state"] * (state is not None) + [n if n != "form" else f"form={form!r}" for n in keywords]
        call = f"forward({', '.join(given)}){' of a single position' if x.shape[1] == 1 else ''} in {name_of(x.dtype)}"
        hint = "; new tensors should take the dtype of x" if "dtype" in str(error) and x.dtype == torch.float64 else ""
        raise Violation(f"{call} raised {one_line(error)}{hint}") from error
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"one {type(result).__name__}"
        raise Violation(f"forward() returned {what}, expected the pair (y, state)")
    y, after = result
    if not isinstance(y, Tensor) or y.shape != x.shape:
        what = f"has shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"is a {type(y).__name__}"
        raise Violation(f"y {what}, expected a tensor of the shape of x, {tuple(x.shape)}")
    try:
        list(tensors(after))
    except TypeError as error:
        raise Violation(f"the returned state: {error}") from error
    return y, after


def run_pieces(
    layer: nn.Module,
    x: Tensor,
    state: State,
    pieces: tuple[int, ...],
    *,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    form: str | None = None,
) -> tuple[Tensor, State]:
    """The same sequence read in pieces of these lengths, the state carried from one to the next."""
    ys, start = [], 0
    for length in pieces:
        here = slice(start, start + length)
        y, state = run(
            layer,
            x[:, here],
            state,
            mask=None if mask is None else mask[:, here],
            reset=None if reset is None else reset[:, here],
            form=form,
        )
        ys.append(y)
        start += length
    return torch.cat(ys, dim=1), state


def difference(a: Tensor, b: Tensor) -> float:
    """``max |a - b| / max(1, max |b|)``; infinite where shapes or whole numbers differ, or one side is not a number."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    if not (a.is_floating_point() or a.is_complex()):
        return float("inf")
    b = b.to(a.dtype)
    gap = torch.where(a == b, 0.0, (a - b).abs())  # equal infinities are equal
    size = b[torch.isfinite(b)].abs()
    largest = gap.max().item()
    return largest / max(1.0, size.max().item() if size.numel() else 0.0) if largest == largest else float("inf")


def same_shapes(a: State, b: State) -> bool:
    return [t.shape for t in tensors(a)] == [t.shape for t in tensors(b)]


def state_difference(a: State, b: State) -> float:
    """The largest difference of any tensor; infinite where the shapes differ."""
    if not same_shapes(a, b):
        return float("inf")
    return max((difference(p, q) for p, q in zip(tensors(a), tensors(b), strict=True)), default=0.0)


def first_gap(a: Tensor, b: Tensor, bound: float) -> int:
    """The first position (dimension 1) at which a and b differ by more than ``bound``."""
    gap = (a - b).abs().nan_to_num(nan=float("inf")).amax(dim=(0, 2)) / max(1.0, b.abs().max().item())
    return int((gap > bound).nonzero()[0]) if bool((gap > bound).any()) else 0


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def in_form(form: str | None) -> str:
    return f" in form {form!r}" if form else ""
