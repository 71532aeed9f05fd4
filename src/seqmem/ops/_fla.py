"""On CUDA, the kernels of flash-linear-attention (the package ``fla``) behind the contracts of four ops.

Both sides have the same layout, (batch, time, heads, channels) with a state (batch, heads, key, value), and log decays.
Theirs scale q by 1 / sqrt(key) unless told otherwise, give a final state only when asked, and have no resets: a
sequence is cut at each, and the pieces of all rows are given one after the other with their bounds (``cu_seqlens``).
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError

WIDEST_KEY = 256  # of their delta rules
HALF = (torch.bfloat16, torch.float16)


class Kernel(NamedTuple):
    """Where a function of theirs is, their names for what the op takes beside q, k and v, and the dtypes that it takes:
    half, or float32 as well."""

    module: str
    function: str
    names: dict[str, str]
    dtypes: tuple[torch.dtype, ...]


KERNELS: dict[str, Kernel] = {
    "ssd": Kernel("fla.ops.simple_gla", "chunk_simple_gla", {"g": "g"}, (*HALF, torch.float32)),
    "gated_linear_attention": Kernel("fla.ops.gla", "chunk_gla", {"g": "g"}, (*HALF, torch.float32)),
    "delta_rule": Kernel("fla.ops.delta_rule", "chunk_delta_rule", {"beta": "beta"}, HALF),
    "delta_rule with g": Kernel(
        "fla.ops.gated_delta_rule", "chunk_gated_delta_rule", {"beta": "beta", "g": "g"}, (*HALF, torch.float32)
    ),
    "generalized_delta_rule": Kernel(
        "fla.ops.generalized_delta_rule", "chunk_dplr_delta_rule", {"a": "a", "b": "b", "g": "gk"}, HALF
    ),
}
OPS_WITH_FLA = ("ssd", "gated_linear_attention", "delta_rule", "generalized_delta_rule")


@lru_cache(None)
def fla_missing() -> str | None:
    """Why the kernels of fla cannot run on this machine, or None when they can."""
    if importlib.util.find_spec("fla") is None:
        return "fla is not installed (pip install flash-linear-attention)"
    if not torch.cuda.is_available():
        return "fla runs on CUDA, and no CUDA device is visible"
    if importlib.util.find_spec("triton") is None:
        return "fla needs triton, which is not installed"
    for kernel in KERNELS.values():
        try:
            found(kernel)
        except Exception as error:  # a broken or other version must name itself
            return f"{kernel.module}.{kernel.function} cannot be imported: {error}"
    return None


def found(kernel: Kernel) -> Any:
    """Their function."""
    return getattr(importlib.import_module(kernel.module), kernel.function)


def obstacle(op: str, given: list[Tensor], forced: bool) -> str | None:
    """Why this call cannot go to fla, or None. ``given``: the op's floating-point inputs, q, k and v first.

    Unless ``forced``, only half precision goes there: in float32 their products may be rounded to ten bits (TF32).
    """
    if op not in OPS_WITH_FLA:
        return f"fla has no kernel of {op}; it has {', '.join(OPS_WITH_FLA)}"
    elsewhere = [x.device.type for x in given if x.device.type != "cuda"]
    if elsewhere:
        return f"inputs are on {elsewhere[0]}, fla runs on CUDA"
    name = f"{op} with g" if op == "delta_rule" and _has_gate(given) else op
    dtypes = {x.dtype for x in given[:3]}
    taken = KERNELS[name].dtypes if forced else HALF
    if len(dtypes) > 1 or not dtypes <= set(taken):
        shown = ", ".join(str(dtype).removeprefix("torch.") for dtype in taken)
        return f"q, k and v are {', '.join(sorted(map(str, dtypes)))}, expected one of {shown}"
    if "delta_rule" in op and given[0].shape[-1] > WIDEST_KEY:
        return f"keys have {given[0].shape[-1]} channels, fla's kernel of {op} takes at most {WIDEST_KEY}"
    return fla_missing()


def _has_gate(given: list[Tensor]) -> bool:
    """Of the delta rule's inputs: beta and g are (batch, time, heads), a state is (batch, heads, key, value)."""
    return sum(x.dim() == 3 for x in given) == 2


def run(
    op: str, q: Tensor, k: Tensor, v: Tensor, s0: Tensor | None, reset: Tensor | None, **others: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(o, final state in float32). ``others``: what the op takes beside, by its own names."""
    has_gate = op == "delta_rule" and others.get("g") is not None
    kernel = KERNELS[f"{op} with g" if has_gate else op]
    extra = {kernel.names[name]: x for name, x in others.items() if x is not None}
    if unknown := [name for name, x in others.items() if x is not None and name not in kernel.names]:
        raise InputError(f"{op}: fla's {kernel.function} takes no {unknown[0]}; use backend='reference'")
    call = found(kernel)
    start = None if s0 is None else s0.float()
    if reset is None:
        o, s = call(q=q, k=k, v=v, scale=1.0, initial_state=start, output_final_state=True, **extra)
        return o.to(v.dtype), s
    bounds, states, last = pieces(reset, start, q, v)
    flat = {name: x.flatten(0, 1)[None] for name, x in {"q": q, "k": k, "v": v, **extra}.items()}
    o, s = call(**flat, scale=1.0, initial_state=states, output_final_state=True, cu_seqlens=bounds)
    return o[0].unflatten(0, q.shape[:2]).to(v.dtype), s[last]


def pieces(reset: Tensor, s0: Tensor | None, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All rows one after the other, cut where a row begins and at every reset: the bounds (pieces + 1,), the state that
    each piece begins with (pieces, heads, key, value), and the last piece of each row (batch,)."""
    batch, time = reset.shape
    begins = reset.clone()
    begins[:, 0] = True
    starts = begins.flatten().nonzero()[:, 0]
    bounds = torch.cat([starts, starts.new_tensor([batch * time])])
    states = q.new_zeros(len(starts), q.shape[2], q.shape[3], v.shape[3], dtype=torch.float32)
    last = begins.sum(1).cumsum(0) - 1  # (batch,)
    if s0 is not None:
        first = torch.cat([last.new_zeros(1), last[:-1] + 1])
        states = states.index_copy(0, first, torch.where(reset[:, 0, None, None, None], torch.zeros_like(s0), s0))
    return bounds, states, last
