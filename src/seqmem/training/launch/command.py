"""What ``seqmem train`` and ``seqmem data prepare`` print."""

from __future__ import annotations

import argparse
import os
import sys

from seqmem.errors import InputError


def train_command(arguments: argparse.Namespace) -> int:
    """Exit code 0: done; 1: diverged. Of several processes, the first speaks."""
    import transformers

    from seqmem.training.launch import processes
    from seqmem.training.launch.run import Diverged, Point, Tell, train
    from seqmem.training.launch.settings import read_settings

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    speaks = processes.is_first(os.environ)

    def point(p: Point) -> None:
        validation = "" if p.validation is None else f", validation {p.validation:.4f}"
        print(f"step {p.step}: loss {p.loss:.4f}{validation}, {p.tokens_per_second:,.0f} tokens/s", flush=True)

    try:
        settings = read_settings(arguments.config)
        place = train(settings, Tell(lambda words: print(words, file=sys.stderr), point))
        if speaks:
            print(f"model: {place}")
        return processes.end(0)
    except InputError:
        if speaks:
            raise
        return processes.end(2)
    except Diverged as error:
        if speaks:
            print(f"seqmem: {error}; try a smaller learning_rate", file=sys.stderr)
        return processes.end(1)
    finally:
        processes.leave()


def prepare_command(arguments: argparse.Namespace) -> int:
    """One line about what was written."""
    from seqmem.training.tokens.prepare import prepare

    live = sys.stderr.isatty()

    def progress(tokens: int) -> None:
        print(f"\r{tokens:,} tokens", end="", file=sys.stderr, flush=True)

    index = prepare(
        arguments.files,
        arguments.tokenizer,
        arguments.out,
        field=arguments.field,
        separator=arguments.separator,
        shard_tokens=arguments.shard_tokens,
        progress=progress if live else None,
    )
    if live:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    shards = f"{len(index.shards)} shard{'s' if len(index.shards) > 1 else ''}"
    print(f"{arguments.out}: {index.documents:,} documents, {index.tokens:,} tokens of {index.vocab_size:,}, {shards}")
    return 0
