"""``seqmem score``: how well a language model foresees a text, of any length."""

from __future__ import annotations

import argparse

SUMMARY = "score a text of any length with a language model"
DESCRIPTION = (
    "Reads a text with a language model, piece by piece with the memory carried on, and prints bits per byte and per "
    "token, also by position, and what the memory costs. A constant memory needs the same room for a million tokens as "
    "for a thousand."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a text in UTF-8; - reads standard input")
    parser.add_argument(
        "--model", metavar="M", required=True,
        help="smollm2, a saved folder, or a Hugging Face name; without a tokenizer it reads bytes",
    )  # fmt: skip
    parser.add_argument("--piece", type=int, metavar="N", default=1024, help="tokens at once (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="read no more than so many tokens")
    parser.add_argument("--json", action="store_true", help="print a JSON object instead")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.score import score

    return score(arguments)
