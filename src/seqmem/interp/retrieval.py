"""Retrieval heads of a text model (Retrieval Head Mechanistically Explains Long-Context Factuality, 2024, arXiv
2404.15574): which heads look at the word that the model is copying from far back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating, last_logits, reduced_attention
from seqmem.interp.families import layers_of, memory_of


class Needle(NamedTuple):
    """A sentence to hide, a question that is answered by saying it again, and that answer (for the accuracy)."""

    sentence: str
    question: str
    answer: str = ""


NEEDLES = (
    Needle(
        " The secret word of the old lighthouse is marmalade.",
        "\nThe secret word of the old lighthouse is",
        " marmalade.",
    ),
    Needle(
        " Every spring the miller hides seven copper spoons.",
        "\nEvery spring the miller hides",
        " seven copper spoons.",
    ),
    Needle(
        " The train to Orlen leaves at nine from platform four.",
        "\nThe train to Orlen leaves at",
        " nine from platform four.",
    ),
)
HAYSTACK = (
    " The road went down to the river and turned at the bridge. Some houses had red doors and some had none."
    " In the afternoon a wind came up and moved the leaves. A dog slept beside the well until evening."
    " The baker counted loaves, and nobody was in a hurry. Rain fell later, and it stopped before dark."
)


TOGETHER = 8  # texts read at once


class RetrievalScore(NamedTuple):
    """score: mean over the tests of the share of the needle's tokens copied via the head. chance: the same for a head
    whose largest weight falls anywhere in the text. active: share of tests with a score above zero."""

    layer: int
    head: int
    score: float
    chance: float
    active: float


@torch.no_grad()
def retrieval_scores(
    model: nn.Module,
    tokenizer: Any,
    *,
    lengths: Iterable[int] = (128, 256),
    depths: Iterable[float] = (0.1, 0.5, 0.9),
    needles: Sequence[Needle | tuple[str, str]] = NEEDLES,
    haystack: str = HAYSTACK,
    new_tokens: int = 12,
    layers: Iterable[int] | None = None,
) -> list[RetrievalScore]:
    """One :class:`RetrievalScore` per head, for every needle at every length (tokens of haystack) and depth (0: the
    beginning, 1: the end).

    The model answers greedily. While it says w, a head retrieves w when its largest weight lies on a token of the
    needle that is w; its score in the test is the share of the needle's distinct tokens that it retrieved. The paper
    calls a mean of 0.1 and more a retrieval head. tokenizer: called as ``tokenizer(text, add_special_tokens=False)``,
    giving ``input_ids``. A model that copies nothing has scores of 0.
    """
    found = layers_of(model)
    chosen = list(range(len(found))) if layers is None else list(layers)
    if new_tokens < 1:
        raise InputError(f"new_tokens is {new_tokens}, expected at least 1")
    tests: list[dict[int, Tensor]] = []
    chances: list[float] = []
    for texts in _alike(_texts(tokenizer, needles, haystack, lengths, depths)):
        scores, by_luck = _read(model, texts, new_tokens, chosen)
        tests.append(scores)
        chances += by_luck
    table = []
    for layer in chosen:
        scores_of = torch.cat([test[layer] for test in tests])  # (tests, heads)
        mean, active = scores_of.mean(0).tolist(), (scores_of > 0).float().mean(0).tolist()
        chance = sum(chances) / len(chances)
        table += [RetrievalScore(layer, h, mean[h], chance, active[h]) for h in range(len(mean))]
    return table


@torch.no_grad()
def needle_accuracy(
    model: Any,
    tokenizer: Any,
    *,
    lengths: Iterable[int] = (128,),
    depths: Iterable[float] = (0.1, 0.5, 0.9),
    needles: Sequence[Needle] = NEEDLES,
    haystack: str = HAYSTACK,
    absent: bool = False,
) -> float:
    """The share of the answers that the model says: all their tokens are the likeliest, each given those before it.

    The texts are those of :func:`retrieval_scores`. absent: the needle is left out of the haystack, so that only what
    the model knew before can help. InputError for a needle without an answer.
    """
    right, count = 0, 0
    with evaluating(model):
        for texts in _alike(_texts(tokenizer, needles, haystack, lengths, depths)):
            rows = []
            for prompt, span, answer in texts:
                if not answer:
                    raise InputError("a needle has no answer; give Needle(sentence, question, answer)")
                rows.append((prompt[: span.start] + prompt[span.stop :] if absent else prompt) + answer)
            text = torch.tensor(rows, device=next(model.parameters()).device)
            length = len(texts[0].answer)
            said = last_logits(model, text[:, :-1], length, use_cache=False).argmax(-1)
            right += int((said == text[:, -length:]).all(1).sum())
            count += len(texts)
    return right / count


class _Text(NamedTuple):
    """Tokens to read, where the needle stands in them, and those to say."""

    prompt: list[int]
    span: range
    answer: list[int]


def _alike(texts: Iterable[_Text]) -> Iterator[list[_Text]]:
    """Neighbours whose parts are of one length, to be read together; not so many that their matrices are too large."""
    for _, group in groupby(texts, lambda text: (len(text.prompt), len(text.span), len(text.answer))):
        alike = list(group)
        yield from (alike[first : first + TOGETHER] for first in range(0, len(alike), TOGETHER))


def _texts(
    tokenizer: Any,
    needles: Sequence[Needle | tuple[str, str]],
    haystack: str,
    lengths: Iterable[int],
    depths: Iterable[float],
) -> Iterator[_Text]:
    """Every needle at every length and depth."""
    lengths, depths = list(lengths), list(depths)
    if not (lengths and depths and needles) or min(lengths) < 1 or not all(0 <= depth <= 1 for depth in depths):
        raise InputError(f"lengths {lengths} must be at least 1, depths {depths} from 0 to 1, and one needle given")
    filler = _encode(tokenizer, haystack)
    for given in needles:
        sentence, question, answer = Needle(*given)
        needle, ask = _encode(tokenizer, sentence), _encode(tokenizer, question)
        for length in lengths:
            hay = (filler * (length // len(filler) + 1))[:length]
            for depth in depths:
                cut = round(depth * length)
                prompt = hay[:cut] + needle + hay[cut:] + ask
                told = _encode(tokenizer, answer) if answer else []
                yield _Text(prompt, range(cut, cut + len(needle)), told)


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise InputError(f"the tokenizer gives no token for {text!r}; give text that it knows")
    return ids


def _read(
    model: Any, texts: Sequence[_Text], new_tokens: int, layers: list[int]
) -> tuple[dict[int, Tensor], list[float]]:
    """``{layer: (texts, heads)}`` scores of the answers, and the score of a head that points anywhere."""
    device = next(model.parameters()).device
    text = torch.tensor([each.prompt for each in texts], device=device)
    length = text.shape[1]
    with evaluating(model):
        memory = memory_of(model, len(text))
        logits = memory.feed(text)
        for n in range(new_tokens):  # greedy
            text = torch.cat([text, logits[:, -1:].argmax(-1)], 1)
            if n < new_tokens - 1:
                logits = memory.feed(text[:, -1:])
    rows = torch.arange(length - 1, text.shape[1] - 1, device=device)  # the readings behind the said tokens
    said = text[:, length:]  # (texts, said)
    distinct = [text[b, each.span.start : each.span.stop].unique() for b, each in enumerate(texts)]

    def measure(weights: Tensor) -> Tensor:
        """(texts, heads, time, time) -> (texts, heads)."""
        top, where = weights[:, :, rows].abs().max(-1)  # (texts, heads, said)
        shares = []
        for b, each in enumerate(texts):
            inside = (where[b] >= each.span.start) & (where[b] < each.span.stop) & (top[b] > 0)
            hit = inside & (text[b, where[b]] == said[b])
            copied = (hit[:, :, None] & (said[b, :, None] == distinct[b])).any(1)  # (heads, distinct)
            shares.append(copied.float().mean(-1))
        return torch.stack(shares)

    scores = reduced_attention(model, text[:, :-1], measure, 1, layers=layers)
    chances = []
    for b, each in enumerate(texts):
        needle = text[b, each.span.start : each.span.stop]
        odds = (said[b, :, None] == needle).sum(1) / (rows + 1)  # that a random pointer hits
        miss = [torch.where(said[b] == token, 1 - odds, torch.ones_like(odds)).prod() for token in distinct[b]]
        chances.append(float((1 - torch.stack(miss)).mean()))
    return scores, chances
