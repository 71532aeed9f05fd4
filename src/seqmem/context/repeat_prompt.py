"""The same prompt twice: whoever reads it a second time knows what will be asked (JRT-Prompt).

Just read twice: closing the recall gap for recurrent language models (2024), arXiv 2407.05483.
"""

from __future__ import annotations

from typing import Any

from seqmem.errors import InputError


def repeat_prompt(
    context: str,
    question: str,
    *,
    times: int = 2,
    separator: str = "\n",
    tokenizer: Any = None,
    max_tokens: int | None = None,
) -> str:
    """``context question context question ...``, joined by ``separator``: a prompt for any language model.

    The reader of a constant memory must choose what to keep before it is asked. In the second reading it knows the
    question, and whatever comes first in the context has been preceded by all the rest. times: 1 is the plain prompt.

    max_tokens: the prompt has at most so many tokens of ``tokenizer`` (called as ``tokenizer(text)``, giving
    ``input_ids``; it must have ``decode``): the end of the context is cut off, in each copy alike, never the question.
    Raises InputError for a number that makes no sense, max_tokens without a tokenizer, and one that is too small for
    the question alone.

    Example::

        prompt = repeat_prompt(document, "Question: who found the well?\\nAnswer:")
        model.generate(**tokenizer(prompt, return_tensors="pt"))
    """
    if type(times) is not int or times < 1:
        raise InputError(f"repeat_prompt: times is {times!r}, expected a whole number of at least 1")

    def written(text: str) -> str:
        return separator.join(part for _ in range(times) for part in (text, question) if part)

    if max_tokens is None:
        return written(context)
    if type(max_tokens) is not int or max_tokens < 1:
        raise InputError(f"repeat_prompt: max_tokens is {max_tokens!r}, expected a whole number of at least 1")
    if tokenizer is None:
        raise InputError("repeat_prompt: max_tokens needs the tokenizer that counts them; give tokenizer=")
    kept = _ids(tokenizer, context)
    prompt = written(context)
    while (over := len(_ids(tokenizer, prompt)) - max_tokens) > 0:
        if not kept:
            raise InputError(
                f"repeat_prompt: max_tokens is {max_tokens}, the question {times} times alone is {over} more; give "
                "more tokens, a shorter question, or fewer times"
            )
        kept = kept[: max(0, len(kept) - max(1, over // times))]  # pieces may be cut otherwise when joined: count again
        prompt = written(tokenizer.decode(kept))
    return prompt


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"]) if text else []
