"""Recurrences as pure functions. Each has a reference in plain PyTorch and a fast CPU kernel behind one call."""

from seqmem.ops._dispatch import explain
from seqmem.ops.causal_conv import causal_conv
from seqmem.ops.delta_rule import delta_rule
from seqmem.ops.gated_linear_attention import gated_linear_attention
from seqmem.ops.generalized_delta_rule import generalized_delta_rule
from seqmem.ops.linear_scan import linear_scan
from seqmem.ops.running_softmax import SoftmaxState, running_softmax
from seqmem.ops.selective_scan import selective_scan
from seqmem.ops.ssd import ssd
from seqmem.ops.wkv import wkv

__all__ = [
    "SoftmaxState",
    "causal_conv",
    "delta_rule",
    "explain",
    "gated_linear_attention",
    "generalized_delta_rule",
    "linear_scan",
    "running_softmax",
    "selective_scan",
    "ssd",
    "wkv",
]
