"""Other people's implementations behind the arguments of ours: thin adapters, each imported when it is called."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EXTRA = "pip install 'seqmem[bench]'"
BY_FILE = "pip install --no-deps fla-core"  # its plain-PyTorch files are loaded one by one, without its GPU packages
PASSES = ("forward", "forward+backward")


class Peer(NamedTuple):
    """Something to compare an op with.

    call: takes the op's inputs and returns its output. package: what it is imported from, None for plain PyTorch;
    install: how to get it. transposed: it wants the second and third dimension of every input exchanged (channels or
    heads before time), which is done before the clock starts. longest: the longest sequence it is asked to read, None
    for no limit, and limit: why. multiple: lengths must be multiples of it. passes: what it can do. yardstick: it
    computes something else from the same inputs and is there for scale; every other peer must agree with the op to
    within tolerance, relative to the largest value.
    """

    name: str
    call: Callable[..., Tensor]
    package: str | None = None
    install: str = EXTRA
    transposed: bool = False
    longest: int | None = None
    limit: str = ""
    multiple: int = 1
    passes: tuple[str, ...] = PASSES
    yardstick: bool = False
    tolerance: float = 1e-3

    def missing(self) -> bool:
        """Whether its package is not installed."""
        return self.package is not None and importlib.util.find_spec(self.package) is None


def accelerated_scan(a: Tensor, b: Tensor) -> Tensor:
    """a, b: (batch, channels, time)."""
    from accelerated_scan.ref import scan

    return scan(a, b)


def assoc_scan(a: Tensor, b: Tensor) -> Tensor:
    """a, b: (batch, time, channels)."""
    from assoc_scan import AssocScan

    return AssocScan(use_accelerated=False)(a, b)


def heinsen_scan(a: Tensor, b: Tensor) -> Tensor:
    """The scan through logarithms, of positive a and b (Efficient Parallelization of a Ubiquitous Sequential
    Computation, 2023, arXiv 2311.06281)."""
    from minGRU_pytorch.minGRU import heinsen_associative_scan_log

    return heinsen_associative_scan_log(a.log(), b.log())


def mambapy_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    from mambapy.pscan import pscan

    decay = torch.exp(dt[..., None] * A)  # (batch, time, channels, state)
    states = pscan(decay, (dt * u)[..., None] * B[:, :, None])
    return (states @ C[..., None]).squeeze(-1)


def hugging_face_mamba(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Without its CUDA kernels. u, dt: (batch, channels, time); B, C: (batch, state, time)."""
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    slow = getattr(mamba_selective_scan, "__wrapped__", mamba_selective_scan)
    return slow(u, dt, A, B, C)


def hugging_face_wkv(k: Tensor, v: Tensor, g: Tensor, bonus: Tensor) -> Tensor:
    from transformers.models.rwkv.modeling_rwkv import rwkv_linear_attention_cpu

    return rwkv_linear_attention_cpu((-g).log(), bonus, k, v)[0]


def fla_simple_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
    return _fla("simple_gla").naive_chunk_simple_gla(q, k, v, g, scale=1.0)[0]


def fla_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """Heads before time. It scales q by itself, which is undone."""
    return _fla("delta_rule").delta_rule_chunkwise(q * q.shape[-1] ** 0.5, k, v, beta)[0]


def fla_dplr(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """Heads before time. It scales q by itself, which is undone."""
    return _fla("generalized_delta_rule/dplr").dplr_chunkwise(q * q.shape[-1] ** 0.5, k, v, a, b, g)[0]


def causal_attention(q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> Tensor:
    """Heads before time."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> Tensor:
    """Heads before time; every pair of positions is held."""
    return _attend()(q, k, v)[0]


def titans_memory(
    q: Tensor, k: Tensor, v: Tensor, rate: Tensor, w0: Tensor, momentum: Tensor, forget: Tensor
) -> Tensor:
    """A linear memory in chunks of 16 with momentum and forgetting, the layer's own projections, norms and gates
    included: it reads q alone, and the memory it begins with is its own."""
    return _titans(q.shape[2], q.shape[3])(q.flatten(2))[0].view_as(q)


@lru_cache(None)
def _attend() -> torch.nn.Module:
    from x_transformers.attend import Attend

    return Attend(causal=True, scale=1.0)


@lru_cache(None)
def _titans(heads: int, head: int) -> torch.nn.Module:
    from titans_pytorch import MemoryMLP, NeuralMemory

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NeuralMemory(
            heads * head, chunk_size=16, dim_head=head, heads=heads, model=MemoryMLP(head, depth=1)
        ).requires_grad_(False)


def conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x: (batch, channels, time)."""
    channels, kernel = weight.shape
    return F.conv1d(F.pad(x, (kernel - 1, 0)), weight[:, None], bias, groups=channels)


def torch_lstm(x: Tensor, entry: Tensor, weight: Tensor) -> Tensor:
    """The kernel of nn.LSTM."""
    zero = x.new_zeros(1, x.shape[0], weight.shape[1])
    return torch.lstm(x, (zero, zero), [entry, weight], False, 1, 0.0, False, False, True)[0]


def torch_gru(x: Tensor, entry: Tensor, weight: Tensor) -> Tensor:
    """The kernel of nn.GRU."""
    zero = x.new_zeros(1, x.shape[0], weight.shape[1])
    return torch.gru(x, zero, [entry, weight], False, 1, 0.0, False, False, True)[0]


@lru_cache(None)
def _fla(folder: str) -> ModuleType:
    """A file of plain PyTorch from fla-core, without importing the package around it (which wants a GPU)."""
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(f"fla is not installed ({BY_FILE})")
    path = Path(package.submodule_search_locations[0], "ops", *folder.split("/"), "naive.py")
    name = "seqmem_bench_fla_" + folder.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
