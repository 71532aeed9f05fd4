"""What is measured: every op with inputs of a stated kind, and what it is compared with.

A new op is one function that draws its inputs and one row of :data:`CASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from seqmem import ops
from seqmem.bench import formulas, peers
from seqmem.bench.peers import BY_FILE, Peer
from seqmem.errors import InputError, did_you_mean


class Sizes(NamedTuple):
    """Batch, time and width of the inputs; heads of width / heads channels; state of selective scan; convolution."""

    time: int
    batch: int = 8
    width: int = 256
    heads: int = 4
    state: int = 16
    kernel: int = 4

    @property
    def head(self) -> int:
        return self.width // self.heads


class Flops(NamedTuple):
    """Arithmetic of the recurrence as it is written, per position: an addition or multiplication counts one, an
    exponential twelve (the multiply-adds of a polynomial of degree six)."""

    forward: float
    backward: float


Inputs = tuple[Tensor, ...]


class Case(NamedTuple):
    """op: a name in :mod:`seqmem.ops`. variant: which kind of inputs, where there are several. inputs: draws them.
    ours: takes the inputs and returns the output. flops: see :class:`Flops`. alone: where ``ours`` makes what the op is
    given from the inputs, (the op, what makes that); memory is measured of the op."""

    op: str
    variant: str
    inputs: Callable[[Sizes, Generator], Inputs]
    ours: Callable[..., Tensor]
    flops: Callable[[Sizes], Flops]
    peers: tuple[Peer, ...]
    alone: tuple[Callable[..., Tensor], Callable[..., Inputs]] | None = None

    @property
    def name(self) -> str:
        return f"{self.op} ({self.variant})" if self.variant else self.op


EXP = 12.0


def normal(z: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=z)


def scan_inputs(n: Sizes, z: Generator) -> Inputs:
    """Gates in (0, 1); entries above 0, since some peers take their logarithm."""
    shape = (n.batch, n.time, n.width)
    return torch.sigmoid(normal(z, *shape) + 2), F.softplus(normal(z, *shape))


def complex_scan_inputs(n: Sizes, z: Generator) -> Inputs:
    shape = (n.batch, n.time, n.width)
    gate = torch.polar(torch.sigmoid(normal(z, *shape) + 2), normal(z, *shape))
    return gate, torch.complex(normal(z, *shape), normal(z, *shape))


def selective_scan_inputs(n: Sizes, z: Generator) -> Inputs:
    """Steps and A as Mamba starts them."""
    u, dt = normal(z, n.batch, n.time, n.width), F.softplus(normal(z, n.batch, n.time, n.width) - 4)
    A = -torch.arange(1.0, n.state + 1).repeat(n.width, 1)
    return u, dt, A, normal(z, n.batch, n.time, n.state), normal(z, n.batch, n.time, n.state)


def attention_inputs(n: Sizes, z: Generator) -> Inputs:
    """q, k, v, keys of unit length."""
    shape = (n.batch, n.time, n.heads, n.head)
    return normal(z, *shape) * n.head**-0.5, F.normalize(normal(z, *shape), dim=-1), normal(z, *shape)


def ssd_inputs(n: Sizes, z: Generator) -> Inputs:
    return *attention_inputs(n, z), F.logsigmoid(normal(z, n.batch, n.time, n.heads) + 3)


def gla_inputs(n: Sizes, z: Generator) -> Inputs:
    """Decays as GLA starts them, mild enough for the chunked form."""
    return *attention_inputs(n, z), F.logsigmoid(normal(z, n.batch, n.time, n.heads, n.head)) / 16


def delta_inputs(n: Sizes, z: Generator) -> Inputs:
    return *attention_inputs(n, z), torch.sigmoid(normal(z, n.batch, n.time, n.heads))


def generalized_delta_inputs(n: Sizes, z: Generator) -> Inputs:
    """a and b as in RWKV-7: minus the removal key, and that key times a rate in (0, 1)."""
    q, k, v, g = gla_inputs(n, z)
    removal = F.normalize(normal(z, *k.shape), dim=-1)
    return q, k, v, -removal, removal * torch.sigmoid(normal(z, *k.shape)), g


def softmax_inputs(n: Sizes, z: Generator) -> Inputs:
    return normal(z, n.batch, n.time, n.heads), normal(z, n.batch, n.time, n.heads, n.head)


def wkv_inputs(n: Sizes, z: Generator) -> Inputs:
    shape = (n.batch, n.time, n.width)
    return normal(z, *shape), normal(z, *shape), -torch.exp(normal(z, n.width) - 2), normal(z, n.width)


def conv_inputs(n: Sizes, z: Generator) -> Inputs:
    return normal(z, n.batch, n.time, n.width), normal(z, n.width, n.kernel), normal(z, n.width)


def cell_inputs(gates: int, *more: int) -> Callable[[Sizes, Generator], Inputs]:
    """What is read, and the weights of a cell: (gates * width, width) for what it reads and for its state; then
    (each of more, width)."""

    def draw(n: Sizes, z: Generator) -> Inputs:
        rows = (gates * n.width, gates * n.width, *more)
        return normal(z, n.batch, n.time, n.width), *(normal(z, row, n.width) * n.width**-0.5 for row in rows)

    return draw


def slstm_inputs(n: Sizes, z: Generator) -> Inputs:
    weight = normal(z, n.heads, 4 * n.head, n.head) * n.head**-0.5
    return normal(z, n.batch, n.time, n.heads, 4, n.head), weight


def memory_inputs(n: Sizes, z: Generator) -> Inputs:
    """A linear memory with momentum and forgetting, rates at which it is stable."""
    rate, momentum, forget = (torch.sigmoid(normal(z, n.batch, n.time, n.heads)) for _ in range(3))
    q, k, v = attention_inputs(n, z)
    return q, k, v, 0.1 * rate, normal(z, n.heads, n.head, n.head) * n.head**-0.5, 0.9 * momentum, 0.1 * forget


def of_product(gates: int) -> Callable[[Sizes], Flops]:
    """The products of a cell with ``gates`` gates: what is read and the state, each once, and twice backward."""
    return lambda n: Flops(4.0 * gates * n.width**2, 8.0 * gates * n.width**2)


def slstm_flops(n: Sizes) -> Flops:
    return Flops(8.0 * n.width * n.head + 6 * EXP * n.width, 16.0 * n.width * n.head + 6 * EXP * n.width)


def of_matrix(forward: float, backward: float) -> Callable[[Sizes], Flops]:
    """Operations per entry of the matrices (key, value) that the heads hold."""
    return lambda n: Flops(forward * n.width * n.head, backward * n.width * n.head)


def per_channel(forward: float, backward: float) -> Callable[[Sizes], Flops]:
    return lambda n: Flops(forward * n.width, backward * n.width)


def selective_flops(n: Sizes) -> Flops:
    return Flops((EXP + 6) * n.width * n.state, (EXP + 18) * n.width * n.state)


def output(op: Callable[..., tuple[Tensor, object]]) -> Callable[..., Tensor]:
    """The op without its final state."""
    return lambda *inputs: op(*inputs)[0]


def conv_op(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ops.causal_conv(x, weight, bias)[0]


def lstm_op(x: Tensor, entry: Tensor, weight: Tensor) -> Tensor:
    return ops.lstm(x @ entry.mT, weight)[0]


def peephole_lstm_op(x: Tensor, entry: Tensor, weight: Tensor, peephole: Tensor) -> Tensor:
    return ops.lstm(x @ entry.mT, weight, peephole=peephole)[0]


def bare_lstm(x: Tensor, weight: Tensor, peephole: Tensor | None = None) -> Tensor:
    return ops.lstm(x, weight, peephole=peephole)[0]


def entered(x: Tensor, entry: Tensor, *others: Tensor) -> Inputs:
    """What a cell is given: what is read times the weights for it."""
    return x @ entry.mT, *others


def gru_op(x: Tensor, entry: Tensor, weight: Tensor) -> Tensor:
    return ops.gru(x @ entry.mT, weight)[0]


def memory_op(q: Tensor, k: Tensor, v: Tensor, rate: Tensor, w0: Tensor, momentum: Tensor, forget: Tensor) -> Tensor:
    return ops.memory_update(q, k, v, rate, (w0,), momentum=momentum, forget=forget)[0]


ADD = Peer("torch.add of the same bytes", torch.add, passes=("forward",), yardstick=True)
ATTENTION = Peer("causal attention (torch SDPA)", peers.causal_attention, transposed=True, yardstick=True)

EXPLICIT_ATTENTION = Peer(
    "causal attention (x-transformers)", peers.explicit_attention, "x_transformers", transposed=True, yardstick=True,
    longest=512, limit="it holds all pairs of positions: gigabytes",
)  # fmt: skip
TITANS = Peer(
    "titans-pytorch NeuralMemory, a whole layer", peers.titans_memory, "titans_pytorch", yardstick=True,
    longest=512, limit="it keeps the memory of every chunk several times: gigabytes",
)  # fmt: skip


def chunked(form: Callable[..., Tensor], *sizes: int) -> tuple[Peer, ...]:
    return tuple(Peer(f"chunks of {size}, plain PyTorch", partial(form, size=size)) for size in sizes)


def fla(name: str, call: Callable[..., Tensor], **options: Any) -> Peer:
    return Peer(f"fla-core {name}", call, "fla", BY_FILE, **options)


EAGER_SCAN = Peer("eager loop", formulas.eager_scan)
ACCELERATED = Peer("accelerated-scan, reference", peers.accelerated_scan, "accelerated_scan", transposed=True)
ASSOC = Peer("assoc-scan", peers.assoc_scan, "assoc_scan")
# its gradient of the gates passes through differences of large sums of logarithms
HEINSEN = Peer("Heinsen log scan (minGRU-pytorch)", peers.heinsen_scan, "minGRU_pytorch", tolerance=5e-2)
MAMBAPY = Peer(
    "mambapy parallel scan", peers.mambapy_scan, "mambapy",
    longest=512, limit="it holds several states per position: gigabytes",
)  # fmt: skip
HF_MAMBA = Peer(
    "Hugging Face Mamba, slow path", peers.hugging_face_mamba, "transformers", transposed=True,
    longest=512, limit="its backward pass is quadratic in time",
)  # fmt: skip
HF_WKV = Peer(
    "Hugging Face RWKV, CPU path", peers.hugging_face_wkv, "transformers", passes=("forward",),
)  # fmt: skip

CASES: tuple[Case, ...] = (
    Case("linear_scan", "", scan_inputs, output(ops.linear_scan), per_channel(2, 3),
         (EAGER_SCAN, ACCELERATED, ASSOC, HEINSEN, ADD)),
    Case("linear_scan", "complex", complex_scan_inputs, output(ops.linear_scan), per_channel(8, 16),
         (EAGER_SCAN, ACCELERATED, ASSOC, ADD)),
    Case("selective_scan", "", selective_scan_inputs, output(ops.selective_scan), selective_flops,
         (Peer("eager loop", formulas.eager_selective_scan), MAMBAPY, HF_MAMBA)),
    Case("ssd", "", ssd_inputs, output(ops.ssd), of_matrix(5, 12),
         (*chunked(formulas.chunked_ssd, 32, 64, 128), fla("simple_gla, chunks of 64", peers.fla_simple_gla),
          ATTENTION, EXPLICIT_ATTENTION)),
    Case("gated_linear_attention", "", gla_inputs, output(ops.gated_linear_attention), of_matrix(5, 12),
         (*chunked(formulas.chunked_gla, 32, 64, 128), ATTENTION)),
    Case("delta_rule", "", delta_inputs, output(ops.delta_rule), of_matrix(6, 16),
         (*chunked(formulas.chunked_delta_rule, 32, 64),
          fla("delta_rule, chunks of 32", peers.fla_delta_rule, transposed=True, multiple=32), ATTENTION)),
    Case("generalized_delta_rule", "", generalized_delta_inputs, output(ops.generalized_delta_rule), of_matrix(9, 24),
         (*chunked(formulas.chunked_generalized_delta_rule, 32, 64),
          fla("dplr, chunks of 32", peers.fla_dplr, transposed=True, multiple=32, longest=512,
              limit="its backward pass takes minutes"))),
    Case("running_softmax", "", softmax_inputs, output(ops.running_softmax), per_channel(4, 10),
         (Peer("cumulative sums (unstable)", formulas.cumulative_softmax),
          Peer("log-depth scan (Aaren)", formulas.log_depth_softmax))),
    Case("wkv", "", wkv_inputs, output(ops.wkv), per_channel(4 * EXP + 12, 4 * EXP + 30),
         (Peer("eager loop", formulas.eager_wkv), HF_WKV)),
    Case("causal_conv", "", conv_inputs, conv_op, lambda n: Flops(2.0 * n.kernel * n.width, 4.0 * n.kernel * n.width),
         (Peer("torch conv1d", peers.conv1d, transposed=True),
          Peer("sum over shifted inputs", formulas.shifted_convolution))),
    Case("lstm", "", cell_inputs(4), lstm_op, of_product(4),
         (Peer("torch LSTM", peers.torch_lstm), Peer("eager loop", formulas.eager_lstm)), (bare_lstm, entered)),
    Case("lstm", "peepholes", cell_inputs(4, 3), peephole_lstm_op, of_product(4),
         (Peer("eager loop", formulas.eager_lstm),), (bare_lstm, entered)),
    Case("gru", "", cell_inputs(3), gru_op, of_product(3), (Peer("torch GRU", peers.torch_gru),),
         (output(ops.gru), entered)),
    Case("slstm", "", slstm_inputs, output(ops.slstm), slstm_flops, (Peer("eager loop", formulas.eager_slstm),)),
    Case("memory_update", "linear, chunks of 16", memory_inputs, memory_op, of_matrix(9, 24),
         (Peer("loop over tokens", formulas.eager_memory_update,
               longest=512, limit="it keeps the memory of every step: gigabytes"), TITANS)),
)  # fmt: skip


def find_cases(names: list[str] | None) -> list[Case]:
    """The cases of the named ops, all without names. Raises InputError for a name that is no op."""
    known = list(dict.fromkeys(case.op for case in CASES))
    for name in names or ():
        if name not in known:
            raise InputError(f"--op: unknown op '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}")
    return [case for case in CASES if names is None or case.op in names]
