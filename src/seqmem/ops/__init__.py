"""Recurrences as pure functions. Each has a reference in plain PyTorch and a fast CPU kernel behind one call."""

from seqmem.ops._dispatch import explain
from seqmem.ops.causal_conv import causal_conv
from seqmem.ops.delta_rule import delta_rule
from seqmem.ops.gated_linear_attention import gated_linear_attention
from seqmem.ops.generalized_delta_rule import generalized_delta_rule
from seqmem.ops.gru import gru
from seqmem.ops.linear_scan import linear_scan
from seqmem.ops.lstm import LSTMState, lstm
from seqmem.ops.memory_update import MemoryState, memory_update
from seqmem.ops.running_softmax import SoftmaxState, running_softmax
from seqmem.ops.selective_scan import selective_scan
from seqmem.ops.slstm import SLSTMState, slstm
from seqmem.ops.ssd import ssd
from seqmem.ops.wkv import wkv

__all__ = [
    "LSTMState",
    "MemoryState",
    "SLSTMState",
    "SoftmaxState",
    "causal_conv",
    "delta_rule",
    "explain",
    "gated_linear_attention",
    "generalized_delta_rule",
    "gru",
    "linear_scan",
    "lstm",
    "memory_update",
    "running_softmax",
    "selective_scan",
    "slstm",
    "ssd",
    "wkv",
]
