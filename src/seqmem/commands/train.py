"""``seqmem train``: one language model on token shards, by one process or many."""

from __future__ import annotations

import argparse

SUMMARY = "train one language model on your own text, on any number of devices"
DESCRIPTION = (
    "Trains a SequenceLM as a settings file says (docs/train.md), and goes on where it was stopped. By itself on one "
    "device; on several under 'accelerate launch -m seqmem train CONFIG' or 'torchrun --nproc_per_node N -m seqmem "
    "train CONFIG'. Needs pip install 'seqmem[train]'. Exit code 1 when the training diverges."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="data, out, model, steps and more")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.training.launch.command import train_command

    return train_command(arguments)
