"""What the layers of this library share.

Your own layer need not derive from it: the contract is the call, not the class.

``y, state = mixer(x, state=None, *, mask=None, reset=None, form="auto")``

x, y: (batch, time, width), any time >= 1. state: a plain value made of tensors, batch first, everything the layer
remembers; None means empty. mask: (batch, time) bool, False where a position is padding: it neither writes to the state
nor is read from it; its y is finite and unspecified. reset: (batch, time) bool, True where a new document begins: the
memory is emptied before that position is read (also when the position is padding).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.state import State


class Mixer(nn.Module):
    """Base of the library's layers: declares the memory's growth and the forms, checks inputs.

    Subclasses define ``forward(x, state=None, *, mask=None, reset=None, form="auto")`` and
    ``initial_state(batch_size)``.
    """

    memory: ClassVar[str] = "constant"  # or "linear": how the state's bytes grow with time
    causal: ClassVar[bool] = True
    convolves: ClassVar[bool] = False  # True: the layer begins with a short convolution of its own
    forms: ClassVar[tuple[str, ...]] = ("parallel", "recurrent")  # what form= accepts beside "auto"

    def __init__(self, width: int) -> None:
        super().__init__()
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise InputError(f"{type(self).__name__}: width is {width!r}, expected a whole number of at least 1")
        self.width = width

    def initial_state(self, batch_size: int) -> State:
        """The empty memory, in the dtype and on the device of the parameters."""
        raise NotImplementedError

    def check_input(self, x: Tensor, mask: Tensor | None, reset: Tensor | None, form: str) -> None:
        """Raise InputError for a wrong shape, dtype or form."""
        name = type(self).__name__
        if x.ndim != 3 or x.shape[-1] != self.width or x.shape[1] < 1:
            raise InputError(f"{name}: x has shape {tuple(x.shape)}, expected (batch, time >= 1, width = {self.width})")
        for label, flags in (("mask", mask), ("reset", reset)):
            if flags is not None and (flags.shape != x.shape[:2] or flags.dtype != torch.bool):
                raise InputError(
                    f"{name}: {label} has shape {tuple(flags.shape)} and dtype {flags.dtype}, "
                    f"expected {tuple(x.shape[:2])} and torch.bool"
                )
        if form != "auto" and form not in self.forms:
            raise InputError(f"{name}: form is {form!r}, expected 'auto' or one of {', '.join(self.forms)}")


def split_heads(width: int, heads: int, owner: str) -> int:
    """The size of one head, or InputError when ``width`` is not divisible by ``heads``."""
    if heads < 1 or width % heads:
        raise InputError(
            f"{owner}: width {width} is not divisible by heads {heads}; choose a multiple of {heads} or set heads="
        )
    return width // heads
