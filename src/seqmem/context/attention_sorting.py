"""Documents of a prompt in the order of the attention that they get, the best last, where models look most.

Attention Sorting Combats Recency Bias In Long Context Language Models (2023), arXiv 2310.01427.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.context.document_attention import document_attention
from seqmem.errors import InputError


class Sorting(NamedTuple):
    """orders: (rounds + 1, batch, documents), the documents' numbers from the first to the last in the prompt, before
    and after each round. scores: (rounds, batch, documents), the attention to each document, by its number, in the
    order before the round. logits: (rounds, batch, vocabulary), what the model would say then."""

    orders: Tensor
    scores: Tensor
    logits: Tensor


class SortedDocuments(NamedTuple):
    """prompt: the text. ids: (1, time) int64, its tokens, as the model read them piece by piece. order: numbers of the
    documents in it, from the first to the last. scores: one list for each round, the attention to each document by its
    number."""

    prompt: str
    ids: Tensor
    order: list[int]
    scores: list[list[float]]


def sort_documents(
    model: Any,
    documents: Tensor,
    question: Tensor,
    header: Tensor | None = None,
    *,
    rounds: int = 2,
    layers: Iterable[int] | None = None,
) -> Sorting:
    """Sort by attention, again and again, for prompts of tokens: header, documents, question.

    documents: (batch, documents, length) int64, in the order in which they stand, -1 where one is shorter (in a row
    all prompts have one length anyway; across rows they must have too). question, header: (batch, time). In each round
    the model takes one step after the prompt; documents are put in ascending order of the attention that they get from
    its last position, ties as they stood. layers: whose attention counts; default all.
    """
    if documents.ndim != 3 or question.ndim != 2 or len(question) != len(documents):
        raise InputError(
            f"documents has shape {tuple(documents.shape)} and question {tuple(question.shape)}, expected (batch, "
            "documents, length) and (batch, time)"
        )
    if type(rounds) is not int or rounds < 0:
        raise InputError(f"rounds is {rounds!r}, expected a whole number, 0 or more")
    chosen = None if layers is None else list(layers)
    batch, count = documents.shape[:2]
    order = torch.arange(count, device=documents.device).expand(batch, count)
    orders, seen = [order], []
    for _ in range(rounds):
        tokens, owner = prompts_of(documents, order, question, header)
        found = document_attention(model, tokens, owner, layers=chosen)
        placed = found.scores.to(order.device).gather(1, order)  # (batch, place)
        order = order.gather(1, placed.argsort(dim=1, stable=True))
        orders.append(order)
        seen.append(found)
    if not seen:
        return Sorting(torch.stack(orders), torch.zeros(0, batch, count), torch.zeros(0, batch, 0))
    return Sorting(torch.stack(orders), torch.stack([f.scores for f in seen]), torch.stack([f.logits for f in seen]))


def prompts_of(
    documents: Tensor, order: Tensor, question: Tensor, header: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The prompts with their documents in this order, (batch, time), and whose each token is, -1 for nobody's.

    order: (batch, documents), or fewer: the others are left out. Other arguments: see :func:`sort_documents`.
    """
    header = question[:, :0] if header is None else header
    batch, _, length = documents.shape
    placed = documents.gather(1, order[..., None].expand(-1, -1, length))  # (batch, kept, length)
    real = placed >= 0
    sizes = real.flatten(1).sum(1)
    if (sizes != sizes[0]).any():
        raise InputError("the rows have prompts of different lengths; give them one by one, or documents of one length")
    inside = placed[real].view(batch, -1)
    owner = order[..., None].expand_as(placed)[real].view(batch, -1)
    nobody = [torch.full_like(part, -1) for part in (header, question)]
    return torch.cat([header, inside, question], 1), torch.cat([nobody[0], owner, nobody[1]], 1)


def sort_by_attention(
    model: Any,
    tokenizer: Any,
    documents: Sequence[str],
    question: str,
    *,
    header: str = "",
    rounds: int = 2,
    keep: int | None = None,
    layers: Iterable[int] | None = None,
) -> SortedDocuments:
    """A prompt whose documents are sorted by the attention that a causal language model gives them, the best last.

    model: any causal LM of transformers that shows its attention weights, or of :mod:`seqmem.interp`'s families,
    recurrent ones too. tokenizer: called as ``tokenizer(text, add_special_tokens=False)``, giving ``input_ids``. The
    pieces are joined as they are, so give documents and question with their line breaks. keep: how many of the last
    documents stay in the prompt; default all. Cost: ``rounds`` readings of the prompt.

    Raises InputError for no document, one without a token, and whatever :func:`document_attention` raises.

    Example::

        found = sort_by_attention(model, tokenizer, documents, "Question: ...\\nAnswer:", rounds=2)
        model.generate(found.ids, max_new_tokens=20)
    """
    count = len(documents)
    if isinstance(documents, str) or not count:
        raise InputError(f"documents is {documents!r}, expected a list with at least one text")
    if keep is not None and (type(keep) is not int or not 1 <= keep <= count):
        raise InputError(f"keep is {keep!r}, expected a whole number from 1 to {count}, the number of documents")
    device = next(model.parameters()).device
    pieces = [_encode(tokenizer, text) for text in documents]
    if empty := [i for i, piece in enumerate(pieces) if not len(piece)]:
        raise InputError(f"documents {empty} have no token; leave them out")
    asked, first = _encode(tokenizer, question)[None], _encode(tokenizer, header, opening=True)[None]
    if not asked.shape[1]:
        raise InputError(f"the question {question!r} has no token, expected one or more: the last one looks back")
    padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=-1)[None].to(device)
    asked, first = asked.to(device), first.to(device)
    found = sort_documents(model, padded, asked, first, rounds=rounds, layers=layers)
    order = found.orders[-1, :, count - (keep or count) :]
    ids, _ = prompts_of(padded, order, asked, first)
    numbers: list[int] = order[0].tolist()
    return SortedDocuments(
        "".join([header, *(documents[i] for i in numbers), question]), ids, numbers, found.scores[:, 0].tolist()
    )


def _encode(tokenizer: Any, text: str, opening: bool = False) -> Tensor:
    """(time,) tokens. opening: with the special tokens that the tokenizer puts before a text, without one after it."""
    if not text and not opening:
        return torch.zeros(0, dtype=torch.long)
    ids = list(tokenizer(text, add_special_tokens=opening)["input_ids"])
    begin, end = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos"))
    if opening and ids and ids[-1] == end != begin:
        ids = ids[:-1]
    return torch.tensor(ids, dtype=torch.long)
