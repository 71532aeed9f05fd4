"""textgenrnn's weights and characters, as a folder with a :class:`seqmem.models.CharLSTM` and its tokenizer.

The weights lie in the file as cuDNN's layer saves them: gates in the order i, f, g, o, which is torch's; input kernels
(in, 4 * hidden) in which each gate's block holds, read row by row, the numbers of the matrix (hidden, in); two biases
that are added.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_START = "<s>"  # before the first and after the last character of a text


def convert(source: Path, target: Path) -> None:
    """Write model and tokenizer of the ``.hdf5`` and the ``_vocab.json`` below ``source`` into ``target``."""
    import h5py  # type: ignore[import-untyped, unused-ignore]
    import torch
    from transformers import GenerationConfig

    from seqmem.models.char_lstm import CharLSTM, CharLSTMConfig

    (file,) = source.rglob("*.hdf5")
    (characters,) = source.rglob("*_vocab.json")
    with h5py.File(file, "r") as opened:
        weights = weights_of(opened)
    vocabulary: dict[str, int] = json.loads(characters.read_text(encoding="utf-8"))
    start = vocabulary[_START]
    rows, embedding = weights["embed_tokens.weight"].shape
    hidden = weights["lower.recurrent.weight"].shape[1]
    config = CharLSTMConfig(rows, embedding, hidden, bos_token_id=start, eos_token_id=start, dtype="float32")
    model = CharLSTM(config)
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in weights.items()})
    model.generation_config = GenerationConfig(
        bos_token_id=start, eos_token_id=start, pad_token_id=0, suppress_tokens=[0]
    )
    model.save_pretrained(target)
    tokenizer(vocabulary).save_pretrained(target)


def weights_of(opened: Any) -> dict[str, np.ndarray]:
    """The parameters of a CharLSTM from the open HDF5 file."""
    named = {
        "embed_tokens.weight": opened["embedding/embedding/embeddings:0"][:],
        "score.weight": opened["attention/attention/attention_W:0"][:].T,
        "lm_head.weight": opened["output/output/kernel:0"][:].T,
        "lm_head.bias": opened["output/output/bias:0"][:],
    }
    for name, layer in (("lower", "rnn_1/rnn_1"), ("upper", "rnn_2/rnn_2")):
        kernel, recurrent, bias = (opened[f"{layer}/{part}:0"][:] for part in ("kernel", "recurrent_kernel", "bias"))
        named[f"{name}.input.weight"] = _gates(kernel)
        named[f"{name}.recurrent.weight"] = _gates(recurrent)
        named[f"{name}.input.bias"] = bias.reshape(2, -1).sum(0)
    return named


def _gates(kernel: np.ndarray) -> np.ndarray:
    """(4 * hidden, in), torch's layout, of a kernel (in, 4 * hidden) in cuDNN's."""
    width, columns = kernel.shape
    return np.concatenate([gate.reshape(columns // 4, width) for gate in np.split(kernel, 4, axis=1)])


def tokenizer(vocabulary: dict[str, int]) -> Any:
    """One token per character; a text begins with <s>; an unknown character is token 0, as in the published model."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    blank = "<pad>"
    inner = Tokenizer(models.WordLevel({blank: 0, **vocabulary}, unk_token=blank))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A", pair=f"{_START} $A $B", special_tokens=[(_START, vocabulary[_START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=_START,
        eos_token=_START,
        unk_token=blank,
        pad_token=blank,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
