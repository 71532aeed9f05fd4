"""Items asked of anything that answers text with text, or of a causal language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from seqmem.errors import InputError
from seqmem.tasks.string_tasks.items import Item
from seqmem.tasks.string_tasks.kinds import KINDS
from seqmem.tasks.string_tasks.score import cleaned, edit_distance
from seqmem.tasks.tokenizers import ByteTokenizer, Reader, greedy

Answerer = Callable[[str], str]
Prompt = Callable[[Item], str]


@dataclass(frozen=True)
class Answered:
    """An item, what was said, whether that is the answer to the letter, and its edit distance from it."""

    item: Item
    said: str
    right: bool
    distance: int


def spoken(item: Item, examples: Sequence[Item] = ()) -> str:
    """A prompt for a model that reads English, with worked examples before the question."""
    shown = "".join(f"\nText: {one.input}\nAnswer: {one.output}\n" for one in examples)
    return f"{item.asked}\n{shown}\nText: {item.input}\nAnswer:"


def short(item: Item) -> str:
    """A prompt without words, as the task ``embers`` trains on it: the variant, the input, and the sign =."""
    return f"{item.variant}:{item.input}="


def ask(
    model: Answerer | Any,
    items: Sequence[Item],
    *,
    tokenizer: Any = None,
    prompt: Prompt = spoken,
    report: Callable[[int], None] = lambda done: None,
) -> list[Answered]:
    """Every item asked, in its order.

    model: a function from prompt to answer; or a causal language model of transformers, a
    :class:`~seqmem.models.SequenceLM` among them, which goes on greedily up to a line break (``tokenizer``: its own;
    None: a model of bytes). prompt: :func:`spoken`, :func:`short`, or one's own. report: called with how many are
    answered. Of an answer counts the first line that says anything, without quotation marks around it.
    """
    if not items:
        raise InputError("there are no items to ask; make some with battery()")
    prompts = [prompt(item) for item in items]
    if hasattr(model, "generate"):
        said = _generated(model, ByteTokenizer() if tokenizer is None else tokenizer, prompts, items, report)
    elif callable(model):
        said = []
        for one in prompts:
            said.append(model(one))
            report(len(said))
    else:
        raise InputError(
            f"the model is a {type(model).__name__}, expected a function from text to text, or a causal language model "
            "with generate()"
        )
    answers = [cleaned(text) for text in said]
    return [
        Answered(item, answer, answer == item.output, edit_distance(answer, item.output))
        for item, answer in zip(items, answers, strict=True)
    ]


def _generated(
    model: Any, tokenizer: Any, prompts: Sequence[str], items: Sequence[Item], report: Callable[[int], None]
) -> list[str]:
    """Greedy continuations with room for the answer."""
    reader = Reader(tokenizer)
    line_break = len(reader.ids("\n", opening=False))
    room = [reader.size(item.output) + line_break + 2 for item in items]
    return [tokenizer.decode(row) for row in greedy(model, reader, prompts, room, report)]


def solver(prompt: str) -> str:
    """Answers prompts of :func:`spoken` by the rule that they name: right always, whatever is likely."""
    asked, _, rest = prompt.partition("\n")
    given = rest.rpartition("Text: ")[2].removesuffix("\nAnswer:")
    for kind in KINDS.values():
        for variant in kind.variants.values():
            if variant.asked == asked:
                return variant.solve(given)
    raise InputError(f"the prompt {asked!r} names no rule, expected one of spoken()")
