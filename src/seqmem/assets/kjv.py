"""The King James Bible out of a SWORD module: one line per verse, "Genesis 1:1", a tab, the verse."""

from __future__ import annotations

from pathlib import Path


def convert(source: Path, target: Path) -> None:
    """Write ``kjv.txt`` from the module below ``source``."""
    from pysword.modules import SwordModules

    (folder,) = {file.parents[1] for file in source.rglob("mods.d/*.conf")}
    modules = SwordModules(str(folder))
    (name,) = modules.parse_modules()
    bible = modules.get_bible_from_module(name)
    lines = []
    for books in bible.get_structure().get_books().values():
        for book in books:
            for chapter, verses in enumerate(book.chapter_lengths, 1):
                for verse in range(1, verses + 1):
                    text = " ".join(bible.get(books=[book.name], chapters=[chapter], verses=[verse]).split())
                    lines.append(f"{book.name} {chapter}:{verse}\t{text}\n")
    (target / "kjv.txt").write_text("".join(lines), encoding="utf-8")
