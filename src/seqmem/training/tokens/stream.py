"""All token files of a training as one long row of tokens, with the places where documents begin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqmem.errors import InputError
from seqmem.training.tokens.index import DOCUMENTS, NAME, TOKENIZER, read_index
from seqmem.training.tokens.shards import Array, TokenFile, ends_of_documents, open_tokens, stretches


class View(ABC):
    """A row of tokens. ``tokens``: how many; ``starts``: where documents begin, rising from 0."""

    tokens: int
    starts: Array

    @abstractmethod
    def read(self, start: int, stop: int) -> Array:
        """Tokens ``start`` to ``stop`` - 1, int64."""

    def begins(self, start: int, stop: int) -> Array:
        """Which of them begin a document, bool."""
        marks = np.zeros(stop - start, bool)
        first, last = np.searchsorted(self.starts, [start, stop], "left")
        marks[np.asarray(self.starts[first:last]) - start] = True
        return marks

    def documents_within(self, start: Array, stop: Array) -> Array:
        """How many documents begin at ``start`` to ``stop`` - 1, for each pair."""
        return np.searchsorted(self.starts, stop, "left") - np.searchsorted(self.starts, start, "left")


class Stream(View):
    """The files in their order. starts: (documents,) int64, rising, the first 0."""

    def __init__(
        self, files: Sequence[TokenFile], starts: Array, vocab_size: int, *, name: str,
        document_end: int | None = None, tokenizer: Path | None = None,
    ) -> None:  # fmt: skip
        self.files, self.starts, self.vocab_size, self.name = files, starts, vocab_size, name
        self.document_end, self.tokenizer = document_end, tokenizer
        self._ends = np.cumsum([file.tokens for file in files])
        self.tokens = int(self._ends[-1])

    def read(self, start: int, stop: int) -> Array:
        found, at = np.empty(stop - start, np.int64), 0
        for file, first, last in stretches(self._ends, start, stop):
            found[at : at + last - first] = self.files[file].read(first, last)
            at += last - first
        if len(found) and (int(found.min()) < 0 or int(found.max()) >= self.vocab_size):
            wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
            raise InputError(
                f"data '{self.name}' holds the token {wrong}, expected 0 to {self.vocab_size - 1}; give "
                "other dtype or vocab_size, or a file that is not damaged"
            )
        return found


class Reordered(View):
    """The documents of a stream in another order, laid end to end. order: a permutation of them."""

    def __init__(self, stream: Stream, order: Array) -> None:
        self.stream, self.tokens = stream, stream.tokens
        lengths = np.diff(stream.starts, append=stream.tokens)[order]
        self._from = np.asarray(stream.starts)[order]  # where each lies in the stream
        self._ends = np.cumsum(lengths)  # and where it ends here
        self.starts = self._ends - lengths

    def read(self, start: int, stop: int) -> Array:
        return np.concatenate([
            self.stream.read(int(self._from[document]) + first, int(self._from[document]) + last)
            for document, first, last in stretches(self._ends, start, stop)
        ])  # fmt: skip


def open_stream(
    places: Sequence[str], *, dtype: str | None = None, vocab_size: int | None = None, document_end: int | None = None
) -> Stream:
    """The folder that ``seqmem data prepare`` wrote, or token files, which need the rest: see
    :class:`seqmem.training.launch.settings.Settings`.

    Raises InputError for what cannot be read or does not fit together.
    """
    first = Path(places[0]).expanduser()
    if len(places) == 1 and first.is_dir():
        given = {"dtype": dtype, "vocab_size": vocab_size, "document_end": document_end}
        if surplus := [key for key, value in given.items() if value is not None]:
            raise InputError(f"{surplus[0]} is given, and '{first}' has its own in {NAME}; leave it out")
        return _of_folder(first)
    if vocab_size is None:
        raise InputError(f"vocab_size is not given, and '{first}' has no {NAME} to say it; give vocab_size")
    files, starts, before = [], [], 0
    for place in places:
        file = open_tokens(Path(place).expanduser(), dtype)
        starts.append(file.begins + before)
        if document_end is not None:
            starts += [ends + before for ends in ends_of_documents(file, document_end)]
        files.append(file)
        before += file.tokens
    every = np.unique(np.concatenate(starts))
    name = places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
    return Stream(files, every[every < before], vocab_size, name=name, document_end=document_end)


def _of_folder(folder: Path) -> Stream:
    index = read_index(folder)
    files = [open_tokens(folder / shard.file, index.dtype, shard.tokens) for shard in index.shards if shard.tokens]
    if not files:
        raise InputError(f"'{folder}' has no tokens; prepare the data again")
    starts = np.asarray(open_tokens(folder / DOCUMENTS, "int64", index.documents).read(0, index.documents))
    if starts[0] != 0 or np.any(starts[1:] <= starts[:-1]) or starts[-1] >= index.tokens:
        raise InputError(f"'{folder / DOCUMENTS}' is damaged: its places do not rise from 0; prepare the data again")
    tokenizer = folder / TOKENIZER
    return Stream(
        files, starts, index.vocab_size, name=str(folder), document_end=index.document_end,
        tokenizer=tokenizer if tokenizer.is_dir() else None,
    )  # fmt: skip
