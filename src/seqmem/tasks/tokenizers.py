"""Tokenizers for models that have none of their own, and how a text task reads with any tokenizer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from seqmem.errors import InputError
from seqmem.tasks._sentences import words_of

AT_ONCE = 64  # texts that a model reads together


class ByteTokenizer:
    """A token is a byte of UTF-8, as for models of bytes. ``blank``: the line break, which stands before a text."""

    vocab_size = 256
    blank = 10

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def decode(self, ids: Any) -> str:
        """The text of these bytes."""
        return bytes(int(i) for i in ids).decode("utf-8", errors="replace")


def for_bytes(name: str, vocab_size: int) -> ByteTokenizer:
    """What the model ``name`` reads with, which has no tokenizer: bytes. InputError where it has not 256 tokens."""
    if vocab_size != ByteTokenizer.vocab_size:
        raise InputError(
            f"model '{name}' has no tokenizer and {vocab_size} tokens, expected 256 (bytes) or a tokenizer; save one "
            "beside it with tokenizer.save_pretrained"
        )
    return ByteTokenizer()


class WordTokenizer:
    """A token is a word, a digit or a punctuation mark; spaces and line breaks are none. ``words``: the vocabulary,
    the blank first. InputError for a word that is not in it."""

    blank = 0

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._number = {word: number for number, word in enumerate(self.words)}

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        try:
            return {"input_ids": [self._number[word] for word in words_of(text)]}
        except KeyError as error:
            raise InputError(
                f"{error} is not among the {self.vocab_size} words of this vocabulary; "
                "give a task its own 'words', or use tokens='bytes'"
            ) from None

    def decode(self, ids: Any) -> str:
        """The words with a space between them."""
        return " ".join(self.words[int(i)] for i in ids if int(i) != self.blank)


class Reader:
    """What a tokenizer of any kind makes of sentences and prompts.

    tokenizer: called as ``tokenizer(text, add_special_tokens=...)``, giving ``input_ids``: one of these two, or one of
    transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._sizes: dict[str, int] = {}

    def size(self, sentence: str) -> int:
        """Tokens of a sentence within a text, a space before it."""
        if sentence not in self._sizes:
            self._sizes[sentence] = len(self.ids(" " + sentence, opening=False))
        return self._sizes[sentence]

    def ids(self, text: str, opening: bool = True) -> list[int]:
        """Tokens; ``opening``: with the special ones that the tokenizer puts before a text, without one after it."""
        ids = list(self.tokenizer(text, add_special_tokens=opening)["input_ids"])
        begin, end = (getattr(self.tokenizer, f"{name}_token_id", None) for name in ("bos", "eos"))
        return ids[:-1] if opening and ids and ids[-1] == end != begin else ids

    def read(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """Tokens of the prompt with its answer, and how many of them, at the end, are the answer's: all behind what
        they have in common with the prompt alone. Where a token spans both, it is the answer's."""
        whole, alone = self.ids(prompt + answer), self.ids(prompt)
        common = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
        return whole, len(whole) - min(common, len(whole) - 1)


def greedy(
    model: Any,
    reader: Reader,
    prompts: Sequence[str],
    room: Sequence[int],
    report: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """The tokens that a causal language model of transformers puts behind each prompt, at most ``room`` of them or
    what another prompt read with it has, up to its first end token.

    Prompts of one length are read together, at most AT_ONCE, so that nothing is padded. report: called with how many
    are answered.
    """
    import torch

    end = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = [] if end is None else end if isinstance(end, list) else [end]
    rows = [reader.ids(prompt) for prompt in prompts]
    said: list[list[int]] = [[] for _ in rows]
    done = 0
    for group in alike([(len(row),) for row in rows]):
        ids = torch.tensor([rows[n] for n in group], device=next(model.parameters()).device)
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max(room[n] for n in group),
                do_sample=False,
                pad_token_id=int(ends[0]) if ends else 0,
            )[:, ids.shape[1] :]
        for n, row in zip(group, made.tolist(), strict=True):
            said[n] = row[: next((place for place, token in enumerate(row) if token in ends), len(row))]
        done += len(group)
        report(done)
    return said


def alike(keys: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """The places of equal keys, at most AT_ONCE together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for n, key in enumerate(keys):
        groups.setdefault(key, []).append(n)
    return [places[at : at + AT_ONCE] for places in groups.values() for at in range(0, len(places), AT_ONCE)]


def best_guess(answers: Iterable[Sequence[int]]) -> float:
    """The share of tokens that one gets right who has not read the text: who knows which answers there are, all
    equally likely, and the tokens of this one so far, and says the likeliest next token."""
    following: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids in answers:
        for n, token in enumerate(ids):
            following[tuple(ids[:n])][token] += 1
    right = sum(max(counts.values()) for counts in following.values())
    total = sum(sum(counts.values()) for counts in following.values())
    return right / total if total else 0.0
