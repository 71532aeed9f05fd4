"""The options that say where many jobs run."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--engine`` and ``--address``."""
    parser.add_argument(
        "--engine", default="local", metavar="E", help="local: processes of this machine; ray: a Ray cluster"
    )
    parser.add_argument(
        "--address", metavar="A", help="of the Ray cluster, such as auto (default: Ray on this machine alone)"
    )
