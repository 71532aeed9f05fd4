"""``seqmem score``: a text read once, its score in whole and by position."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmem.assets.language_models import language_model
from seqmem.errors import InputError
from seqmem.interp.document import in_bits, read_in_pieces
from seqmem.report.format import bytes_text, short_number
from seqmem.report.tables import console
from seqmem.tasks.tokenizers import for_bytes


@dataclass
class Score:
    """tokens: that were foreseen, all but the first; nats: their sum of -log p; bytes: of the text that they stand for;
    state_bytes: after the first piece and now; by_position: first token, last token, bits per token between them."""

    tokens: int = 0
    nats: float = 0.0
    bytes: int = 0
    seconds: float = 0.0
    state_bytes: tuple[int, int] = (0, 0)
    by_position: list[tuple[int, int, float]] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """All of it and what follows from it."""
        each = in_bits(self.nats) / max(1, self.tokens)
        more = {
            "bits_per_byte": in_bits(self.nats) / max(1, self.bytes),
            "bits_per_token": each,
            "perplexity": 2**each if each < 1000 else float("inf"),
            "tokens_per_second": self.tokens / self.seconds if self.seconds else 0.0,
        }
        return {**asdict(self), **more}


def score(arguments: argparse.Namespace) -> int:
    """Read, print, return the exit code."""
    for option in ("piece", "limit"):
        if (value := getattr(arguments, option)) is not None and value < (2 if option == "limit" else 1):
            raise InputError(f"--{option} is {value}, expected at least {2 if option == 'limit' else 1}")
    text = read_text(arguments.file)
    model, tokenizer = language_model(arguments.model)
    ids = encode(text, model, tokenizer, arguments.model)
    shortened = arguments.limit is not None and ids.shape[1] > arguments.limit
    ids = ids[:, : arguments.limit]
    if ids.shape[1] < 2:
        raise InputError(f"'{arguments.file}' has {ids.shape[1]} tokens, expected at least 2")
    found = Score()
    interrupted = False
    try:
        _read(model, ids, arguments.piece, found, sys.stderr.isatty())
    except KeyboardInterrupt:
        interrupted = True
    if not found.tokens:
        return 130
    part = ids[0, 1 : 1 + found.tokens]
    whole = not (shortened or interrupted)
    found.bytes = len(text.encode()) if whole else _bytes_of(part, tokenizer)
    if arguments.json:
        print(json.dumps({"file": arguments.file, "model": arguments.model, **found.told()}, indent=2))
    else:
        _print(found, arguments, model)
    return 130 if interrupted else 0


def read_text(name: str) -> str:
    """The text of a file, or of standard input for "-"."""
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        return Path(name).expanduser().read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(
            f"'{name}' cannot be read: {error.strerror}; give a text file, or - for standard input"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{name}' is not UTF-8 text (byte {error.start}); convert it first") from error


def encode(text: str, model: Any, tokenizer: Any, name: str) -> Tensor:
    """Token ids (1, time): the tokenizer's, or the text's bytes for a model of bytes."""
    if tokenizer is None:
        ids = for_bytes(name, model.config.vocab_size)(text)["input_ids"]
    else:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return torch.tensor([ids], dtype=torch.int64)


def _read(model: Any, ids: Tensor, piece: int, found: Score, live: bool) -> None:
    """Fill ``found`` as the pieces come; the spans of ``by_position`` double in length."""
    start, until, last = time.perf_counter(), 64, 1
    span, count = 0.0, 0
    for part in read_in_pieces(model, ids, piece=piece):
        begun = found.tokens
        found.state_bytes = (found.state_bytes[0] or part.state_bytes, part.state_bytes)
        losses = part.losses[0].double()
        while losses.numel():
            take = losses[: until - found.tokens]
            found.nats += float(take.sum())
            found.tokens += take.numel()
            span, count = span + float(take.sum()), count + take.numel()
            losses = losses[take.numel() :]
            if found.tokens == until or (not losses.numel() and found.tokens == ids.shape[1] - 1):
                found.by_position.append((last, found.tokens, in_bits(span) / count))
                until, last, span, count = 2 * until, found.tokens + 1, 0.0, 0
        found.seconds = time.perf_counter() - start
        if live and begun // 16_384 != found.tokens // 16_384:
            print(f"\r{found.tokens:,} of {ids.shape[1] - 1:,} tokens", end="", file=sys.stderr, flush=True)
    if live:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)


def _bytes_of(ids: Tensor, tokenizer: Any) -> int:
    return ids.numel() if tokenizer is None else len(tokenizer.decode(ids.tolist()).encode())


def _print(found: Score, arguments: argparse.Namespace, model: Any) -> None:
    from rich.table import Table

    told, out = found.told(), console()
    first, last = found.state_bytes
    grows = (
        f", {bytes_text(first)} after the first {arguments.piece}: it grows" if last > 1.01 * first else ", constant"
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("tokens", f"{found.tokens:,} foreseen, {found.bytes:,} bytes")
    table.add_row("bits per byte", f"{told['bits_per_byte']:.4f}")
    table.add_row("bits per token", f"{told['bits_per_token']:.4f} (perplexity {told['perplexity']:.2f})")
    table.add_row("state", f"{bytes_text(last)}{grows if found.tokens > arguments.piece else ''}")
    table.add_row("tokens/s", short_number(told["tokens_per_second"]))
    out.print(table)
    spans = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("tokens", "bits per token"):
        spans.add_column(title, justify="right")
    for start, stop, bits in found.by_position:
        spans.add_row(f"{start:,} to {stop:,}", f"{bits:.4f}")
    out.print()
    out.print(spans)
