"""How often a language model answers tasks in text rightly, by length and depth.

An answer is right when greedy decoding would say all of its tokens: each is the likeliest, given the prompt and those
before it. That is seen in one reading of prompt and answer, of which only the answer's logits are made.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating, last_logits
from seqmem.interp.document import DECLARED, most_positions
from seqmem.loading import parse_json
from seqmem.tasks import TASKS, get_task, task_class
from seqmem.tasks.text import Document, TextTask
from seqmem.tasks.tokenizers import ByteTokenizer, Reader, WordTokenizer
from seqmem.training.experiment import digest
from seqmem.training.files import write_json
from seqmem.training.schema import fits
from seqmem.training.seeds import generator

FORMAT = 1  # part of every cell's name: raised when the same documents would be measured differently
TOKENS_AT_ONCE = 8192  # read in one forward pass, but at least one document
Z = 1.959964  # the 97.5 % point of the normal distribution


class AtDepth(TypedDict):
    """``right`` of ``count`` answers, with Wilson's 95 % interval of their share; ``nats``: the mean loss of a token of
    them."""

    depth: float
    right: int
    count: int
    low: float
    high: float
    nats: float


class Cell(TypedDict):
    """One task at one length: all depths together, and each. ``tokens`` were read in ``seconds``."""

    cell: str  # digest of the weights and of the documents' tokens
    task: str
    length: int
    right: int
    count: int
    low: float
    high: float
    depths: list[AtDepth]
    tokens: int
    seconds: float


class _Answers(NamedTuple):
    """right: (documents,) bool. nats: (documents,), mean over the answer's tokens."""

    right: Tensor
    nats: Tensor


def text_tasks() -> list[str]:
    """The names of the library's tasks in text."""
    return [name for name in TASKS if issubclass(task_class(name), TextTask)]


def text_task(name: str, **options: Any) -> TextTask:
    """The task of that name, or ``package.module:ClassName``; InputError where it is no task in text."""
    task = get_task(name, **options)
    if not isinstance(task, TextTask):
        raise InputError(
            f"task '{name}' is not in text, expected {', '.join(text_tasks())}, or package.module:ClassName of one "
            "derived from seqmem.tasks.text.TextTask; train a layer on it with 'seqmem compare'"
        )
    return task


def tokenizer_of(task: TextTask, vocab_size: int) -> ByteTokenizer | WordTokenizer:
    """What a model without a tokenizer reads with: bytes, or the task's words, by the size of its vocabulary."""
    if vocab_size == ByteTokenizer.vocab_size:
        return ByteTokenizer()
    if vocab_size == len(task.words):
        return WordTokenizer(task.words)
    raise InputError(
        f"the model has no tokenizer and {vocab_size} tokens, expected 256 (bytes) or {len(task.words)} (the words of "
        f"task '{task.name}'), or a tokenizer; save one beside it with tokenizer.save_pretrained"
    )


def context_of(model: Any) -> int | None:
    """The most tokens that a model can read, where it says so."""
    return most_positions(model, DECLARED)


def spread(count: int) -> list[float]:
    """``count`` depths from the beginning, 0, to the end, 1, evenly; one alone is in the middle."""
    return [0.5] if count == 1 else [n / (count - 1) for n in range(count)]


def evaluate_text(
    model: Any,
    tokenizer: Any,
    tasks: Mapping[str, TextTask],
    lengths: Sequence[int],
    *,
    depths: int = 5,
    samples: int = 5,
    seed: int = 0,
    kept: Path | None = None,
    progress: Callable[[Cell, bool], None] = lambda cell, reused: None,
) -> Iterator[Cell]:
    """Every task at every length, the shortest first, each as soon as it is done.

    model: any causal language model of transformers, or a :class:`~seqmem.models.SequenceLM`. tokenizer: its own; None:
    :func:`tokenizer_of`. tasks: by name. lengths: tokens of prompt and answer, at most. depths: how many places of the
    fact that decides, from the beginning of the text to its end. samples: documents for each of these. kept: a folder
    of finished cells; one of the same weights and the same documents is taken from there. progress: called with each
    cell and whether it was.

    Raises InputError, before anything is read, for a length that the model cannot read or a task does not fit into.
    """
    if not tasks or not lengths:
        raise InputError(f"tasks are {list(tasks)} and lengths {list(lengths)}, expected at least one of each")
    most = context_of(model)
    if most is not None and max(lengths) > most:
        raise InputError(f"length {max(lengths)} is more than this model can read, {most} tokens; use shorter lengths")
    size = model.config.vocab_size
    readers = {n: Reader(tokenizer_of(task, size) if tokenizer is None else tokenizer) for n, task in tasks.items()}
    for name, task in tasks.items():
        _documents(name, task, readers[name], min(lengths), depths, 1, seed)
    return _cells(model, tasks, readers, sorted(lengths), depths, samples, seed, kept, progress)


def _cells(
    model: Any,
    tasks: Mapping[str, TextTask],
    readers: Mapping[str, Reader],
    lengths: Sequence[int],
    depths: int,
    samples: int,
    seed: int,
    kept: Path | None,
    progress: Callable[[Cell, bool], None],
) -> Iterator[Cell]:
    weights = weights_digest(model)
    for length in lengths:
        for name, task in tasks.items():
            documents = _documents(name, task, readers[name], length, depths, samples, seed)
            read = [[document.ids, document.asked, document.depth] for document in documents]
            cell = digest({"format": FORMAT, "weights": weights, "task": name, "length": length, "documents": read})
            path = None if kept is None else kept / f"{cell}.json"
            found = earlier = _found(path)
            if found is None:
                found = _measured(cell, name, length, documents, model)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, found)
            progress(found, earlier is not None)
            yield found


def _documents(
    name: str, task: TextTask, reader: Reader, length: int, depths: int, samples: int, seed: int
) -> list[Document]:
    """``samples`` documents for each depth, those of one depth together."""
    where = [depth for depth in spread(depths) for _ in range(samples)]
    return task.documents(len(where), length, reader, generator(seed, f"eval/{name}/{length}"), where)


def _measured(cell: str, name: str, length: int, documents: Sequence[Document], model: Any) -> Cell:
    start = time.perf_counter()
    answers = answered(model, documents)
    depths = []
    for depth in dict.fromkeys(document.depth for document in documents):
        here = torch.tensor([document.depth == depth for document in documents])
        right, count = int(answers.right[here].sum()), int(here.sum())
        low, high = wilson(right, count)
        nats = float(answers.nats[here].mean())
        depths.append(AtDepth(depth=depth, right=right, count=count, low=low, high=high, nats=nats))
    right, count = int(answers.right.sum()), len(documents)
    low, high = wilson(right, count)
    return Cell(
        cell=cell,
        task=name,
        length=length,
        right=right,
        count=count,
        low=low,
        high=high,
        depths=depths,
        tokens=sum(len(document.ids) for document in documents),
        seconds=time.perf_counter() - start,
    )


@torch.no_grad()
def answered(model: Any, documents: Sequence[Document]) -> _Answers:
    """Whether greedy decoding would say each answer. Padding stands behind the answers, where a causal model does not
    see it."""
    device = next(model.parameters()).device
    right, nats = [], []
    at_once = max(1, TOKENS_AT_ONCE // max(len(document.ids) for document in documents))
    with evaluating(model):
        for first in range(0, len(documents), at_once):
            group = documents[first : first + at_once]
            width = max(len(document.ids) for document in group) - 1
            rows = [document.ids[:-1] + [0] * (width + 1 - len(document.ids)) for document in group]
            begins = [len(document.ids) - 1 - document.asked for document in group]  # the position that says the first
            count = width - min(begins)
            logits = last_logits(model, torch.tensor(rows, device=device), count, use_cache=False).cpu()
            for row, document, begin in zip(logits, group, begins, strict=True):
                place = begin - (width - count)
                said, asked = row[place : place + document.asked].float(), torch.tensor(document.ids[-document.asked :])
                right.append(bool((said.argmax(-1) == asked).all()))
                nats.append(float(nn.functional.cross_entropy(said, asked)))
    return _Answers(torch.tensor(right), torch.tensor(nats))


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share: Wilson, Probable Inference, the Law of Succession, and Statistical Inference
    (1927)."""
    share, weight = right / count, Z**2 / count
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)


def weights_digest(model: Any) -> str:
    """Of a model's kind, its settings and every number in it."""
    settings = model.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"):
        settings.pop(name, None)
    found = hashlib.blake2b(json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _found(path: Path | None) -> Cell | None:
    """A finished cell; None where there is none, or none that is whole."""
    if path is None:
        return None
    try:
        found: Any = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if fits(found, Cell) and found["cell"] == path.stem else None
