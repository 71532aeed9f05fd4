"""``seqmem eval``: tasks in text, asked of a language model."""

from __future__ import annotations

import argparse

SUMMARY = "ask a language model tasks in text, by length and depth"
DESCRIPTION = (
    "Asks a language model tasks in text whose answer is known: facts strewn over prose, a question at the end. Prints "
    "how often it is right by task and length, and writes DIR/eval.json and DIR/eval.html, with a map of length and "
    "depth for each task. Finished cells are never measured again. Any causal language model of transformers, or a "
    "saved SequenceLM."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an asset, a folder that save_pretrained wrote, or a hub name")
    parser.add_argument(
        "--tasks", metavar="X,Y", help="tasks in text, or package.module:ClassName of one's own (default: all)"
    )
    parser.add_argument(
        "--lengths", metavar="T,T", default="256,1024", help="tokens of prompt and answer (default: %(default)s)"
    )
    parser.add_argument(
        "--depths", type=int, metavar="N", default=5, help="places of the deciding fact (default: %(default)s)"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", default=5, help="documents per length and depth (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="of the documents (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", default="seqmem-eval", help="where results go (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what eval.json says instead")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.training.eval_command import eval_command

    return eval_command(arguments)
