"""What can have happened to a file: bytes cut, changed or replaced, JSON that nobody expects, headers that lie."""

from __future__ import annotations

import copy
import json
import pickle
import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from seqmem.testing.faults import Bomb

EXPLODED = "exploded"  # the file that a bomb makes in the current folder
MODULE = "planted_module"  # a module in the current folder that does the same when it is imported

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**6, 10**9, 10**12, 2**63, -(2**63), 1e308, -0.5, float("nan"), float("inf"),
    "", "x", "é\0", "../../x", "/etc/passwd", "x" * 3000, f"{MODULE}:Layer", f"{MODULE}.Layer", "os:system", "lstm",
    "attention", [], {}, [[]], [1, 2], ["a"], {"a": 1}, {"name": f"{MODULE}:Layer"}, {"name": "gru", "size": 10**9},
)  # fmt: skip
ALIASES = b"a: &a0 [x, x, x, x]\n" + b"".join(
    b"b%d: &a%d [%s]\n" % (n, n + 1, b", ".join([b"*a%d" % n] * 9)) for n in range(20)
)
WHOLE: tuple[bytes, ...] = (
    b"", b"\0", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5_000, b"null", b"3", b"[]", b"{}", b'"x"',
    pickle.dumps(Bomb(Path(EXPLODED))), b"PK\x03\x04" + bytes(60), b"\x1f\x8b" + bytes(60), b"GGUF" + bytes(60),
    b"!<arch>\n" + bytes(200), b"!<arch>\n" + b"x".ljust(48) + b"-60".ljust(10) + b"`\n" + bytes(200),
    ALIASES, b"title: " + ALIASES.replace(b"\n", b"\n  "), b"title: 2001-99-99", b"seeds: " + b"9" * 5_000,
    b"title: &a [*a]", b"mixers: [[[[gru]]]]", b"? [a]\n: 1", b"!!python/object/apply:os.system ['touch exploded']",
)  # fmt: skip


def broken(whole: bytes) -> SearchStrategy[bytes]:
    """The file with a few bytes changed, put in, taken out or doubled, cut short, or replaced altogether."""
    places = st.integers(0, max(0, len(whole) - 1))
    payload = st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from([bytes(8), b"\xff" * 8, struct.pack("<Q", 2**40), b"-1", b"99999999"]),
    )
    edit = st.tuples(st.sampled_from(["change", "insert", "remove", "double"]), places, payload)
    return st.one_of(
        st.lists(edit, min_size=1, max_size=4).map(lambda edits: _edited(whole, edits)),
        places.map(lambda length: whole[:length]),
        st.sampled_from(WHOLE),
        st.binary(max_size=60),
    )


def _edited(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, payload in edits:
        if kind == "change":
            data = data[:place] + payload + data[place + len(payload) :]
        elif kind == "insert":
            data = data[:place] + payload + data[place:]
        elif kind == "remove":
            data = data[:place] + data[place + len(payload) :]
        else:
            data = data[:place] + data[place : place + 50] * 2 + data[place + 50 :]
    return data


def other_json(value: Any) -> SearchStrategy[Any]:
    """The value with one to three of its parts replaced, taken out, or joined by others."""
    paths = list(_paths(value))
    anything = st.one_of(st.sampled_from(HOSTILE), st.integers(), st.text(max_size=5), st.floats())
    edit = st.tuples(st.sampled_from(paths), st.sampled_from(["replace", "replace", "remove", "add"]), anything)
    return st.lists(edit, min_size=1, max_size=3).map(lambda edits: _replaced(value, edits))


def json_bytes(value: Any) -> SearchStrategy[bytes]:
    """A JSON file of :func:`other_json`, or of :func:`broken`."""
    return st.one_of(other_json(value).map(_dumped), other_json(value).map(_dumped), broken(_dumped(value)))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _paths(value: Any, here: tuple[Any, ...] = ()) -> Any:
    yield here
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield from _paths(part, (*here, key))


def _replaced(value: Any, edits: list[tuple[tuple[Any, ...], str, Any]]) -> Any:
    value = copy.deepcopy(value)
    for path, kind, new in edits:
        if not path:
            value = value if kind == "add" else new
            continue
        at = value
        try:
            for key in path[:-1]:
                at = at[key]
            if kind == "replace":
                at[path[-1]] = new
            elif kind == "remove":
                del at[path[-1]]
            else:
                at["another"] = new
        except (KeyError, IndexError, TypeError):  # an earlier edit took it away
            continue
    return value


def safetensors_bytes(whole: bytes) -> SearchStrategy[bytes]:
    """A header that says something else of sizes, places, shapes and dtypes than what follows it."""
    (length,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def put(changed: Any) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + data

    sizes = st.sampled_from([0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1])
    return st.one_of(
        other_json(header).map(put), sizes.map(lambda n: struct.pack("<Q", n) + whole[8:]), broken(whole), nan_in(whole)
    )


def nan_in(whole: bytes) -> SearchStrategy[bytes]:
    """Numbers that are not finite."""
    return st.integers(0, 8).map(
        lambda n: whole[: len(whole) - 4 * n - 4] + b"\x00\x00\xc0\x7f" + whole[len(whole) - 4 * n :]
    )
