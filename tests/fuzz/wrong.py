"""Readers that do what none may, so that the child is seen to notice."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path

import torch

from seqmem.errors import InputError
from tests.fuzz.formats import Format, _write
from tests.fuzz.mutations import broken

SOUND = b'{"a": 1}'


def _raises(folder: Path) -> None:
    json.loads((folder / "a").read_bytes())


def _two_lines(folder: Path) -> None:
    if (folder / "a").read_bytes() != SOUND:
        raise InputError("one\ntwo")


def _hangs(folder: Path) -> None:
    while (folder / "a").read_bytes() != SOUND:
        pass


def _swells(folder: Path) -> None:
    if (folder / "a").read_bytes() != SOUND:
        try:
            torch.zeros(2**31, dtype=torch.uint8)
        except RuntimeError as error:
            raise InputError("too large") from error


def _unpickles(folder: Path) -> None:
    try:
        pickle.loads((folder / "a").read_bytes())
    except Exception as error:
        raise InputError("no pickle") from error


def _starts(folder: Path) -> None:
    if (folder / "a").read_bytes() != SOUND:
        subprocess.run(["true"], check=False)


def _any(folder: Path) -> Path:
    return _write("a", SOUND)(folder)


def _pickle(folder: Path) -> Path:
    return _write("a", pickle.dumps(1))(folder)


WRONG = {
    "wrong: raises": Format(_any, broken, _raises),
    "wrong: two lines": Format(_any, broken, _two_lines),
    "wrong: hangs": Format(_any, broken, _hangs),
    "wrong: swells": Format(_any, broken, _swells),
    "wrong: unpickles": Format(_pickle, broken, _unpickles),
    "wrong: starts": Format(_any, broken, _starts),
}
SAYS = {
    "wrong: raises": "JSONDecodeError: ",
    "wrong: two lines": "more than one line: ",
    "wrong: hangs": "it took more than 5 s",
    "wrong: swells": "it asked for too much memory: RuntimeError: ",
    "wrong: unpickles": "code was run",
    "wrong: starts": "it did subprocess.Popen",
}
