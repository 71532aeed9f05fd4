"""Operations of one call of a torch operator, an addition or multiplication counting one.

Matrix products, convolutions and attention: torch's own table (``torch.utils.flop_counter``). The kernels of
:mod:`seqmem.ops`: the counts of :mod:`seqmem.bench.cases`. What neither has is below: attention on the CPU, torch's
fused LSTM, Fourier transforms, linear systems. Elementwise operations count nothing, as in torch's table: what they
cost is the memory that they move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from seqmem.bench.cases import CASES, Flops, Sizes

aten = torch.ops.aten
ONE = Sizes(time=1, batch=1, width=1, heads=1, state=1, kernel=1)
#: operators whose arithmetic depends on the numbers or on the library: named in a plan, never guessed
UNCOUNTED = ("linalg_matrix_exp", "_linalg_eigh", "linalg_eig", "_linalg_svd", "linalg_qr")

Arguments = Sequence[Any]


def flops_of(function: Any, arguments: Arguments, options: dict[str, Any], result: Any) -> float:
    """Of one call; 0 for what moves memory only."""
    packet = function.overloadpacket
    if function.namespace == "seqmem":
        names = (argument.name for argument in function._schema.arguments)
        return kernel_flops(packet.__name__, dict(zip(names, arguments, strict=False)))
    if packet in OWN:
        return float(round(OWN[packet](arguments, result)))
    if packet in flop_registry:
        return float(flop_registry[packet](*arguments, **options, out_val=result))
    return 0.0


def is_causal(function: Any, arguments: Arguments, options: dict[str, Any]) -> bool:
    """Whether it is attention in which no position sees a later one; torch counts all pairs of positions."""
    names = [argument.name for argument in function._schema.arguments]
    return "is_causal" in names and bool(dict(zip(names, arguments, strict=False), **options).get("is_causal"))


def kernel_flops(name: str, given: dict[str, Any]) -> float:
    """Of one call of a kernel, ``given`` by the names of its schema."""
    op = name.removesuffix("_backward")
    entries = ENTRIES[op](given)
    counts = _counts(op, given)
    return entries * (counts.forward if op == name else counts.backward)


def _counts(op: str, given: dict[str, Any]) -> Flops:
    """Operations per entry."""
    complex_numbers = op == "linear_scan" and given["a"].is_complex()
    case = next(c for c in CASES if c.op == CASE_OF.get(op, op) and (c.variant == "complex") == complex_numbers)
    if op == "slstm":  # its products grow with a head's size, the rest does not
        head = given["x"].shape[-1]
        forward, backward = case.flops(ONE._replace(width=head))  # one head
        return Flops(forward / head, backward / head)
    forward, backward = case.flops(ONE)
    if op in ("lstm", "gru"):  # the bench counts the product that makes the cell's input, too: it is one half
        return Flops(forward / 2, backward / 2)
    return Flops(forward, backward)


CASE_OF = {"linear_attention": "gated_linear_attention"}


def _positions(x: Tensor) -> int:
    return x.shape[0] * x.shape[1]


def _matrices(given: dict[str, Any]) -> int:
    """Positions times the entries of the heads' matrices (batch, heads, key, value)."""
    return _positions(given["q"]) * math.prod(given["s0"].shape[1:])


#: what an op's operations are counted per
ENTRIES: dict[str, Callable[[dict[str, Any]], int]] = {
    "linear_attention": _matrices,
    "delta_rule": _matrices,
    "generalized_delta_rule": _matrices,
    "selective_scan": lambda given: _positions(given["u"]) * given["A"].numel(),
    "linear_scan": lambda given: given["b" if "b" in given else "h"].numel(),
    "running_softmax": lambda given: given["v"].numel(),
    "wkv": lambda given: given["v"].numel(),
    "causal_conv": lambda given: _positions(given["x"]) * given["weight"].numel(),
    "lstm": lambda given: _positions(given["x"]) * given["weight"].shape[1] ** 2,
    "gru": lambda given: _positions(given["x"]) * given["weight"].shape[1] ** 2,
    "slstm": lambda given: given["x"].numel() // 4,
}


def _attention(arguments: Arguments, _: Any) -> float:
    query, key, value = arguments[:3]
    return float(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(arguments: Arguments, _: Any) -> float:
    gradient, query, key, value = arguments[:4]
    return float(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))


def _fused_lstm(arguments: Arguments, _: Any) -> float:
    """x (time, batch, width), weights (4 hidden, width) and (4 hidden, hidden)."""
    x, entry, recurrent = arguments[:3]
    return 2.0 * _positions(x) * (entry.numel() + recurrent.numel())


def _complex_transform(x: Tensor, dims: Sequence[int]) -> float:
    length = math.prod(x.shape[d] for d in dims)
    return 5.0 * x.numel() * math.log2(max(2, length))


def _solved(arguments: Arguments, result: Any) -> float:
    """A general system A x = b: elimination and two substitutions."""
    size = arguments[0].shape[-1]
    return arguments[0].numel() / size**2 * 2 / 3 * size**3 + 2.0 * size * result[0].numel()


OWN: dict[Any, Callable[[Arguments, Any], float]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _fused_lstm,
    aten.mkldnn_rnn_layer_backward: lambda arguments, result: 2 * _fused_lstm(arguments, result),
    aten._fft_c2c: lambda arguments, _: _complex_transform(arguments[0], arguments[1]),
    aten._fft_r2c: lambda arguments, _: _complex_transform(arguments[0], arguments[1]) / 2,
    aten._fft_c2r: lambda arguments, result: _complex_transform(result, arguments[1]) / 2,
    aten._linalg_solve_ex: _solved,
    aten.linalg_solve_triangular: lambda arguments, result: float(arguments[0].shape[-1] * result.numel()),
}
