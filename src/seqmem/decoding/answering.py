"""Short answers of any causal language model: what it would say, or which of some choices it finds likeliest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating, last_logits
from seqmem.tasks.tokenizers import Reader, alike, greedy

PROMPT = "{passage}\nQuestion: {question}\nAnswer:"
CLOSED = "Question: {question}\nAnswer:"


def generated(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int = 12, stop: Sequence[str] = ("\n",)
) -> list[str]:
    """What greedy decoding says behind each prompt, up to one of ``stop`` or an end token, without spaces around it.

    model: of transformers, or a :class:`~seqmem.models.SequenceLM`. tokenizer: called with ``add_special_tokens``, with
    ``decode``. Prompts of one length are read together, so that nothing is padded.
    """
    with evaluating(model):
        rows = greedy(model, Reader(tokenizer), prompts, [max_new_tokens] * len(prompts))
    ends = "|".join(map(re.escape, stop)) or "$"
    return [re.split(ends, tokenizer.decode(row).lstrip())[0].strip() for row in rows]


@torch.no_grad()
def log_likelihoods(
    model: Any, tokenizer: Any, prompts: Sequence[str], choices: Sequence[str], *, mean: bool = False
) -> Tensor:
    """log p(choice | prompt), (prompts, choices) float32: the sum over the choice's tokens, or their ``mean``.

    A choice continues the prompt as it is: give ``" yes"`` where a space belongs between them. One that is empty, or
    has no token before it, is an InputError.
    """
    if not choices:
        raise InputError("choices is empty, expected the answers that are compared")
    reader, device = Reader(tokenizer), next(model.parameters()).device
    pairs = [reader.read(prompt, choice) for prompt in prompts for choice in choices]
    for n, (tokens, count) in enumerate(pairs):
        prompt, choice = prompts[n // len(choices)], choices[n % len(choices)]
        if not choice or count >= len(tokens):
            raise InputError(f"choice {choice!r} behind prompt {prompt!r}: expected a text, and a token before it")
    found = torch.empty(len(pairs))
    contexts: dict[tuple[int, ...], list[int]] = {}  # what is read -> the pairs that it is read for
    for n, (tokens, count) in enumerate(pairs):
        contexts.setdefault((count, *tokens[:-1]), []).append(n)
    rows = list(contexts)
    for group in alike([(len(row), row[0]) for row in rows]):
        ids = torch.tensor([rows[n][1:] for n in group], device=device)
        asked = rows[group[0]][0]
        with evaluating(model):
            log_p = last_logits(model, ids, asked, use_cache=False).float().log_softmax(-1).cpu()
        for row, n in zip(log_p, group, strict=True):  # row: (asked, vocabulary)
            for pair in contexts[rows[n]]:
                each = row.gather(1, torch.tensor(pairs[pair][0][-asked:])[:, None])
                found[pair] = each.mean() if mean else each.sum()
    return found.unflatten(0, (-1, len(choices)))


def chosen(
    model: Any, tokenizer: Any, prompts: Sequence[str], choices: Sequence[str], *, mean: bool = False
) -> list[str]:
    """The likeliest choice behind each prompt, without spaces around it."""
    best = log_likelihoods(model, tokenizer, prompts, choices, mean=mean).argmax(1).tolist()
    return [choices[n].strip() for n in best]


def reader_of(
    model: Any,
    tokenizer: Any,
    *,
    prompt: str = PROMPT,
    closed: str = CLOSED,
    max_new_tokens: int = 12,
    stop: Sequence[str] = ("\n",),
) -> Callable[[Sequence[tuple[str, str]]], list[str]]:
    """A reader of (question, passage) pairs: greedy answers to ``prompt``, or to ``closed`` where there is no passage.

    prompt: with the slots {passage} and {question}; closed: with {question}.
    """

    def read(asked: Sequence[tuple[str, str]]) -> list[str]:
        prompts = [
            (prompt if passage else closed).format(passage=passage, question=question) for question, passage in asked
        ]
        return generated(model, tokenizer, prompts, max_new_tokens=max_new_tokens, stop=stop)

    return read
