"""Sequence-mixing layers: ``y, state = mixer(x, state=None, *, mask=None, reset=None, form="auto")``.

Every layer of the library by name, in one table. A name is looked up with :func:`get_mixer`;
``"package.module:ClassName"`` is accepted wherever a name is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from seqmem.errors import InputError, did_you_mean
from seqmem.loading import load_class

if TYPE_CHECKING:
    from torch import nn


class MixerEntry(NamedTuple):
    """One row of ``seqmem mixers``."""

    name: str
    class_name: str
    summary: str
    memory: str  # how the state grows with time: "constant" or "linear"
    source: str


def _rows(*rows: tuple[str, str, str, str, str]) -> dict[str, MixerEntry]:
    return {row[0]: MixerEntry(*row) for row in rows}


MIXERS: dict[str, MixerEntry] = _rows(
    ("attention", "Attention", "softmax attention with rotary positions and a growing key-value state", "linear",
     "Attention Is All You Need (2017), arXiv 1706.03762; RoFormer (2021), arXiv 2104.09864"),
    ("local_attention", "LocalAttention", "softmax attention over the last `window` positions", "constant",
     "Longformer (2020), arXiv 2004.05150"),
    ("rnn", "RNN", "the simple recurrent network, tanh or relu", "constant", "Finding Structure in Time (1990)"),
    ("lstm", "LSTM", "long short-term memory with a forget gate", "constant",
     "Long Short-Term Memory (1997); Learning to Forget (2000)"),
    ("gru", "GRU", "gated recurrent unit", "constant",
     "Learning Phrase Representations using RNN Encoder-Decoder (2014), arXiv 1406.1078"),
    ("min_gru", "MinGRU", "GRU whose gate sees only the input, so that it can be scanned", "constant",
     "Were RNNs All We Needed? (2024), arXiv 2410.01201"),
    ("min_lstm", "MinLSTM", "LSTM whose gates see only the input, so that it can be scanned", "constant",
     "Were RNNs All We Needed? (2024), arXiv 2410.01201"),
    ("linear_attention", "LinearAttention", "attention through a positive feature map, a sum of outer products",
     "constant", "Transformers are RNNs (2020), arXiv 2006.16236"),
    ("prefix_linear_attention", "PrefixLinearAttention", "linear attention that can read a prefix in both directions",
     "constant", "Just read twice (2024), arXiv 2407.05483"),
    ("retention", "Retention", "linear attention with a fixed decay per head and rotary positions", "constant",
     "Retentive Network (2023), arXiv 2307.08621"),
    ("mamba", "Mamba", "selective state space with input-dependent step, input and output", "constant",
     "Mamba (2023), arXiv 2312.00752"),
    ("rg_lru", "RGLRU", "real-gated linear recurrent unit behind a short convolution", "constant",
     "Griffin (2024), arXiv 2402.19427"),
    ("delta_net", "DeltaNet", "fast weights corrected by the delta rule", "constant",
     "Parallelizing Linear Transformers with the Delta Rule (2024), arXiv 2406.06484"),
    ("gated_delta_net", "GatedDeltaNet", "the delta rule with a data-dependent decay", "constant",
     "Gated Delta Networks (2024), arXiv 2412.06464"),
    ("gla", "GLA", "linear attention with a data-dependent decay per key channel", "constant",
     "Gated Linear Attention Transformers with Hardware-Efficient Training (2023), arXiv 2312.06635"),
    ("mamba2", "Mamba2", "state space with one decay per head, a linear attention", "constant",
     "Transformers are SSMs (2024), arXiv 2405.21060"),
    ("hgrn2", "HGRN2", "gated linear recurrence expanded by an outer product", "constant",
     "HGRN2: Gated Linear RNNs with State Expansion (2024), arXiv 2404.07904"),
    ("mlstm", "MLSTM", "LSTM with a matrix as cell and exponential gates", "constant",
     "xLSTM: Extended Long Short-Term Memory (2024), arXiv 2405.04517"),
    ("rwkv4", "RWKV4", "RWKV-4's time mixing: a running average whose weights decay, per channel", "constant",
     "RWKV: Reinventing RNNs for the Transformer Era (2023), arXiv 2305.13048"),
    ("rwkv_channel_mix", "RWKVChannelMix", "RWKV-4's channel mixing: an MLP that sees one position back", "constant",
     "RWKV: Reinventing RNNs for the Transformer Era (2023), arXiv 2305.13048"),
    ("rwkv6", "RWKV6", "RWKV-6's time mixing: a matrix with a data-dependent decay per channel and a bonus", "constant",
     "Eagle and Finch: RWKV with Matrix-Valued States (2024), arXiv 2404.05892"),
    ("rwkv7", "RWKV7", "RWKV-7's time mixing: a delta rule with vectors as decay, removal and rate", "constant",
     "RWKV-7 Goose with Expressive Dynamic State Evolution (2025), arXiv 2503.14456"),
    ("ttt_linear", "TTTLinear", "a linear model trained by gradient descent on what is read", "constant",
     "Learning to (Learn at Test Time): RNNs with Expressive Hidden States (2024), arXiv 2407.04620"),
    ("titans", "Titans", "a small network that learns while it reads, with momentum and forgetting", "constant",
     "Titans: Learning to Memorize at Test Time (2024), arXiv 2501.00663"),
    ("titans_mac", "TitansMAC", "attention over a segment and what a learning memory recalls for it", "constant",
     "Titans: Learning to Memorize at Test Time (2024), arXiv 2501.00663"),
    ("titans_mag", "TitansMAG", "windowed attention, gated by a learning memory beside it", "constant",
     "Titans: Learning to Memorize at Test Time (2024), arXiv 2501.00663"),
    ("titans_mal", "TitansMAL", "windowed attention over what a learning memory gives", "constant",
     "Titans: Learning to Memorize at Test Time (2024), arXiv 2501.00663"),
    ("fast_weights", "FastWeights", "a recurrent network that attends to its past through fast weights", "constant",
     "Using Fast Weights to Attend to the Recent Past (2016), arXiv 1610.06258"),
    ("synaptic_resonance", "SynapticResonance", "windowed attention with a matrix written where a token resonates",
     "constant", "Exploring Synaptic Resonance in Large Language Models (2025), arXiv 2502.10699"),
    ("temporal_perspectives", "TemporalPerspectives", "RWKV-4 blocks that read in several perspectives", "constant",
     "Enhancing Transformer RNNs with Multiple Temporal Perspectives (2024), arXiv 2402.02625"),
    ("lstm_odyssey", "OdysseyLSTM", "LSTM with peepholes, every part of which can be left out (eight variants)",
     "constant", "LSTM: A Search Space Odyssey (2015), arXiv 1503.04069"),
    ("peephole_lstm", "PeepholeLSTM", "LSTM whose gates see the cell", "constant",
     "Learning Precise Timing with LSTM Recurrent Networks (2002)"),
    ("lstm_1997", "LSTM1997", "the first LSTM, without a forget gate", "constant", "Long Short-Term Memory (1997)"),
    ("slstm", "SLSTM", "LSTM with exponential gates and heads, of xLSTM", "constant",
     "xLSTM: Extended Long Short-Term Memory (2024), arXiv 2405.04517"),
    ("jordan", "Jordan", "the Jordan network: the output is fed back", "constant",
     "Serial Order: A Parallel Distributed Processing Approach (1986)"),
    ("irnn", "IRNN", "rectified units whose recurrent matrix begins as the identity", "constant",
     "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units (2015), arXiv 1504.00941"),
    ("qrnn", "QRNN", "quasi-recurrent network: a convolution makes the gates of a scan", "constant",
     "Quasi-Recurrent Neural Networks (2016), arXiv 1611.01576"),
    ("sru", "SRU", "simple recurrent unit: a scan without a matrix, and a highway around it", "constant",
     "Simple Recurrent Units for Highly Parallelizable Recurrence (2018), arXiv 1709.02755"),
    ("leaky_rnn", "LeakyRNN", "leaky neurons, each with a trained time constant", "constant",
     "Emergent mechanisms for long timescales depend on training curriculum (2024), arXiv 2309.12927"),
    ("wave_rnn", "WaveRNN", "inputs travel as waves over rings of units", "constant",
     "Traveling Waves Encode the Recent Past and Enhance Sequence Learning (2024), arXiv 2309.08045"),
    ("unitary_rnn", "UnitaryRNN", "every input is a rotation, a sequence their product", "constant",
     "Assessing the Unitary RNN as an End-to-End Compositional Model of Syntax (2022), arXiv 2208.05719"),
    ("stack_rnn", "StackRNN", "recurrent network with differentiable stacks", "constant",
     "Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098; arXiv 1503.01007"),
    ("tape_rnn", "TapeRNN", "recurrent network that reads and writes a tape", "constant",
     "Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098"),
    ("relational_memory_core", "RelationalMemoryCore", "memory slots that attend to each other and the input",
     "constant", "Relational recurrent neural networks (2018), arXiv 1806.01822"),
    ("ntm", "NTM", "neural Turing machine: an LSTM with a memory matrix and heads that move", "constant",
     "Neural Turing Machines (2014), arXiv 1410.5401"),
    ("rnn_of_rnns", "RNNOfRNNs", "recurrent networks coupled so that the whole is provably stable", "constant",
     "RNNs of RNNs: Recursive Construction of Stable Assemblies (2021), arXiv 2106.08928"),
    ("sparse_rnn", "SparseRNN", "recurrent network on a random graph, or pruned", "constant",
     "Investigating Sparsity in Recurrent Neural Networks (2024), arXiv 2407.20601"),
    ("aaren", "Aaren", "softmax attention with a learned query per head, as a recurrence", "constant",
     "Attention as an RNN (2024), arXiv 2405.13956"),
    ("gateloop", "GateLoop", "linear recurrence with data-controlled decay and phase", "constant",
     "GateLoop (2023), arXiv 2311.01927"),
    ("lru", "LRU", "linear recurrent unit: complex diagonal state, eigenvalues in a ring", "constant",
     "Resurrecting Recurrent Neural Networks for Long Sequences (2023), arXiv 2303.06349"),
    ("s4d", "S4D", "diagonal state space per channel", "constant",
     "On the Parameterization and Initialization of Diagonal State Space Models (2022), arXiv 2206.11893"),
    ("s5", "S5", "one diagonal state space for all channels", "constant",
     "Simplified State Space Layers for Sequence Modeling (2022), arXiv 2208.04933"),
    ("short_conv", "GatedShortConv", "short convolution between two gates", "constant",
     "LFM2 Technical Report (2025), arXiv 2511.23404"),
    ("hyena", "Hyena", "gated long convolution with a filter made by a network", "linear",
     "Hyena Hierarchy (2023), arXiv 2302.10866"),
    ("lightnet", "LightNet", "linear attention whose decay is a running softmax", "constant",
     "You Only Scan Once (2024), arXiv 2405.21022"),
    ("lssl", "LSSL", "state space with a HiPPO matrix per channel", "constant",
     "Combining Recurrent, Convolutional, and Continuous-time Models with LSSLs (2021), arXiv 2110.13985"),
    ("grouped_query_attention", "GroupedQueryAttention", "attention whose heads share keys and values", "linear",
     "GQA (2023), arXiv 2305.13245"),
    ("alibi_attention", "AlibiAttention", "softmax attention with a penalty on distance", "linear",
     "Train Short, Test Long (2021), arXiv 2108.12409"),
    ("sink_attention", "SinkAttention", "softmax attention over a window and the first tokens", "constant",
     "Efficient Streaming Language Models with Attention Sinks (2023), arXiv 2309.17453"),
    ("transformer_xl", "TransformerXLAttention", "softmax attention over a cache with relative positions", "constant",
     "Transformer-XL (2019), arXiv 1901.02860"),
    ("landmark", "Landmark", "softmax attention that retrieves blocks of the past by their landmarks", "linear",
     "Landmark Attention (2023), arXiv 2305.16300"),
    ("routing_transformer", "RoutingTransformer", "sparse attention within clusters of queries and keys", "constant",
     "Efficient Content-Based Sparse Attention with Routing Transformers (2021), arXiv 2003.05997"),
    ("hopfield", "Hopfield", "retrieval from a modern Hopfield memory of what was read", "linear",
     "Hopfield Networks is All You Need (2020), arXiv 2008.02217"),
    ("dual_attention", "DualAttention", "sensory heads beside heads that read relations and symbols", "linear",
     "Disentangling and Integrating Relational and Sensory Information (2024), arXiv 2405.16727"),
    ("template_attention", "TemplateAttention", "softmax attention that can match and copy the unseen", "linear",
     "When can transformers reason with abstract symbols? (2023), arXiv 2310.09753"),
)  # fmt: skip


def get_mixer(name: str) -> type[nn.Module]:
    """The class behind a name of :data:`MIXERS` or behind ``"package.module:ClassName"``.

    Raises InputError for an unknown name (with the nearest one), a module that cannot be imported, or a class that is
    no ``nn.Module``.
    """
    if ":" in name:
        from torch import nn

        return load_class(name, nn.Module, "mixer", "a class derived from torch.nn.Module")
    if name not in MIXERS:
        raise InputError(
            f"unknown mixer {name!r}.{did_you_mean(name, MIXERS)} Known: {', '.join(MIXERS)}; "
            "or give your own as package.module:ClassName"
        )
    return getattr(importlib.import_module(f"seqmem.mixers.{name}"), MIXERS[name].class_name)
