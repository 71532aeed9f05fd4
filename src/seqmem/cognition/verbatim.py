"""Verbatim memory by surprisal: a list of nouns comes twice in a text; how surprising is it the second time?

Characterizing Verbatim Short-Term Memory in Neural Language Models (2022), arXiv 2210.13569.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError

CONDITIONS = ("repeat", "permute", "novel")
NOUNS = (
    "apple", "window", "river", "candle", "horse", "pencil", "garden", "bottle", "train", "letter", "mountain",
    "shirt", "clock", "bread", "island", "hammer", "teacher", "violin", "bridge", "carpet", "doctor", "engine",
    "forest", "guitar", "helmet", "jacket", "kitchen", "ladder", "market", "needle", "ocean", "piano", "queen",
    "rabbit", "saddle", "table", "umbrella", "village", "wagon", "zebra",
)  # fmt: skip


class Vignette(NamedTuple):
    """The text around the two lists: ``before`` [list] ``between`` [list]. ``comma`` stands between nouns, ``stop``
    after the last; ``space`` before each noun."""

    before: str
    between: str
    comma: str = ","
    stop: str = "."
    space: str = " "


_MEETING = " When the meeting was over she sat down in the empty room and took a sip of cold tea."
_WALK = (
    " Outside it had begun to rain, and people hurried along the street with their collars turned up. She waited for a"
    " while, because nobody expected her at home before the evening. A man at the next desk was looking for his keys."
    " Then the rain became weaker, somebody switched the lights off in the corridor, and it was quiet again."
)
VIGNETTES = {
    "short": Vignette("Mary wrote down a list of words:", " After a moment she read the list again:"),
    "medium": Vignette("Mary wrote down a list of words:", _MEETING + " After the break she read the list again:"),
    "long": Vignette(
        "Mary wrote down a list of words:", _MEETING + _WALK + " After the break she read the list again:"
    ),
}


class RepeatSurprisal(NamedTuple):
    """percent: 100 times the mean surprisal of the second list over that of the first, the median over trials. first,
    second: (trials, nouns), nats of each noun, all its tokens together; NaN-free."""

    percent: float
    first: Tensor
    second: Tensor


@torch.no_grad()
def repeat_surprisal(
    model: Any,
    tokenizer: Any,
    condition: str = "repeat",
    *,
    vignette: Vignette | str = "medium",
    set_size: int = 5,
    trials: int = 20,
    nouns: Sequence[str] = NOUNS,
    generator: torch.Generator | None = None,
) -> RepeatSurprisal:
    """How surprising a list of ``set_size`` nouns is the second time, for any causal language model.

    condition: the second list is the first ("repeat"), the same nouns in another order ("permute"), or other nouns
    ("novel", where memory cannot help). vignette: a :class:`Vignette`, or a name in ``VIGNETTES``. tokenizer: called
    as ``tokenizer(text, add_special_tokens=False)``, giving ``input_ids``; where it has a beginning token, texts begin
    with it. InputError for too few nouns, and a noun that the tokenizer has no token for.
    """
    if condition not in CONDITIONS:
        raise InputError(f"condition is {condition!r}, expected one of {', '.join(CONDITIONS)}")
    if isinstance(vignette, str):
        if vignette not in VIGNETTES:
            raise InputError(f"vignette is {vignette!r}, expected a Vignette or one of {', '.join(VIGNETTES)}")
        vignette = VIGNETTES[vignette]
    least = 2 * set_size if condition == "novel" else set_size
    if set_size < 2 or trials < 1 or len(nouns) < least:
        raise InputError(
            f"set_size is {set_size}, trials {trials}, with {len(nouns)} nouns; at least 2, 1 and {least} are needed"
        )
    generator = generator or torch.Generator().manual_seed(0)
    rows = []
    training = model.training
    model.eval()
    try:
        for _ in range(trials):
            drawn = [nouns[int(i)] for i in torch.randperm(len(nouns), generator=generator)]
            first = drawn[:set_size]
            if condition == "novel":
                second = drawn[set_size : 2 * set_size]
            else:
                second = [first[i] for i in _order(set_size, condition, generator)]
            rows.append(_nouns_surprisal(model, tokenizer, vignette, first, second))
    finally:
        model.train(training)
    told = torch.tensor(rows, dtype=torch.float64).unflatten(1, (2, set_size))  # (trials, 2, nouns)
    ratio = told[:, 1].mean(-1) / told[:, 0].mean(-1).clamp_min(1e-12)
    return RepeatSurprisal(100 * float(ratio.median()), told[:, 0], told[:, 1])


def _order(size: int, condition: str, generator: torch.Generator) -> list[int]:
    """The same order, or one that is not."""
    order = list(range(size))
    while condition == "permute" and order == list(range(size)):
        order = torch.randperm(size, generator=generator).tolist()
    return order


def _nouns_surprisal(
    model: Any, tokenizer: Any, vignette: Vignette, first: Sequence[str], second: Sequence[str]
) -> list[float]:
    """Nats of every noun of both lists; the text is put together from tokens, so that a noun's are known."""
    begin = getattr(tokenizer, "bos_token_id", None)
    tokens: list[int] = [] if begin is None else [begin]
    spans: list[range] = []
    for told, nouns in ((vignette.before, first), (vignette.between, second)):
        tokens += tokenizer(told, add_special_tokens=False)["input_ids"]
        for place, noun in enumerate(nouns):
            piece = tokenizer(vignette.space + noun, add_special_tokens=False)["input_ids"]
            unknown = getattr(tokenizer, "unk_token_id", None)
            if not piece or (unknown is not None and unknown != begin and unknown in piece):
                raise InputError(f"the tokenizer has no token for {noun!r}; give nouns= that it knows")
            spans.append(range(len(tokens), len(tokens) + len(piece)))
            tokens += piece
            mark = vignette.comma if place + 1 < len(nouns) else vignette.stop
            if mark:
                tokens += tokenizer(mark, add_special_tokens=False)["input_ids"]
    text = torch.tensor([tokens], device=next(model.parameters()).device)
    nats = F.cross_entropy(model(text[:, :-1], use_cache=False).logits[0].float(), text[0, 1:], reduction="none")
    return [float(nats[span.start - 1 : span.stop - 1].sum()) for span in spans]
