"""``seqmem data``: text as tokens on disk, for ``seqmem train``."""

from __future__ import annotations

import argparse

SUMMARY = "make token shards of your own text"
DESCRIPTION = "Makes what 'seqmem train' reads: shards of tokens and an index, from text files of any size."


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prepare = actions.add_parser("prepare", help="tokenise text files into a new folder", description=DESCRIPTION)
    prepare.add_argument(
        "files", nargs="+", metavar="FILE", help=".jsonl and .parquet: a document a line or row; else UTF-8 text"
    )
    prepare.add_argument(
        "--tokenizer", required=True, metavar="T", help="bytes, a folder with a tokenizer, or a Hugging Face name"
    )
    prepare.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    prepare.add_argument(
        "--field", default="text", metavar="F", help="where .jsonl and .parquet have the text (default: %(default)s)"
    )
    prepare.add_argument("--separator", metavar="LINE", help="a line that stands between the documents of a text file")
    prepare.add_argument(
        "--shard-tokens", type=int, default=100_000_000, metavar="N", help="tokens in a shard (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    from seqmem.training.launch.command import prepare_command

    return prepare_command(arguments)
