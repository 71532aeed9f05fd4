"""``python -m seqmem.papers.publish SLUG... | --all``: for a checkout. Runs what the store does not have at the laptop
budget, writes ``docs/papers/SLUG.json``, and brings the README's table of papers up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seqmem.errors import InputError
from seqmem.papers.results import published, with_table, write
from seqmem.papers.run import chosen, reproduce
from seqmem.report.tables import console
from seqmem.training.files import write_text
from seqmem.training.progress import StudyProgress
from seqmem.training.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 when a part failed (its paper is then left as it was)."""
    parser = argparse.ArgumentParser(prog="python -m seqmem.papers.publish", description=__doc__)
    parser.add_argument("slugs", nargs="*", metavar="SLUG")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--store", metavar="DIR")
    parser.add_argument("--workers", type=int, metavar="N")
    given = parser.parse_args(arguments)
    root = Path(__file__).parents[3]
    readme, home = root / "README.md", root / "docs" / "papers"
    if not readme.is_file():
        raise InputError(f"'{root}' is not a checkout of seqmem (it has no README.md); publish from one")
    home.mkdir(exist_ok=True)
    failed = 0
    with StudyProgress(console(stderr=True), "parts") as progress:
        papers = chosen(given.slugs, everything=given.all)
        for evidence in reproduce(papers, Store(given.store), workers=given.workers, progress=progress):
            if evidence.verdict == "failed":
                failed = 1
                continue
            write(evidence, home)
            print(f"{evidence.slug}: {evidence.verdict}")
    published.cache_clear()
    write_text(readme, with_table(readme.read_text("utf-8"), published()))
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"publish: {error}")
