"""The options that say where many jobs run, and where their results are kept."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser, kept: str) -> None:
    """``--store``, ``--engine``, ``--address`` and ``--workers``; what is ``kept``."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        help=f"where {kept} are kept: a folder or a URL (default: $SEQMEM_STORE, else the user's cache)",
    )
    parser.add_argument(
        "--engine", default="local", metavar="E", help="local: processes of this machine; ray: a Ray cluster"
    )
    parser.add_argument(
        "--address", metavar="A", help="of the Ray cluster, such as auto (default: Ray on this machine alone)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
