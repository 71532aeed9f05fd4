"""Whatever stands in a study file, it is a study or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from seqmem.errors import InputError
from seqmem.training.expand import expand
from seqmem.training.study import EXPECTED, Study, make_study
from tests.training.written import one_line, quick, values

VALUES = values("lstm", "attention", "parity", "mqar", "nowhere:Layer", "json:JSONDecoder", "smoke", "1e-3")
KEYS = st.one_of(st.sampled_from(list(EXPECTED)), st.text(max_size=10))


@quick(150)
@given(words=st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_words(words: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(words) if all(map(_plain, words)) else yaml.safe_dump(words), encoding="utf-8")
    try:
        study = make_study(path)
    except InputError as error:
        one_line(error)
        return
    assert isinstance(study, Study)


@quick(150)
@given(data=st.binary(max_size=60))
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(data)
    try:
        make_study(path)
    except InputError as error:
        one_line(error)


@quick(60)
@given(
    options=st.dictionaries(
        st.sampled_from(["length", "pairs", "vocabulary", "filler", "test_lengths"]), VALUES, max_size=3
    )
)
def test_any_options_of_a_task(options: dict[str, Any]) -> None:
    try:
        expand(make_study(mixers=["rnn"], tasks={"mqar": options}, widths=8, layers=1, seeds=1, budget="smoke"))
    except InputError as error:
        one_line(error)


@quick(60)
@given(options=st.dictionaries(st.sampled_from(["heads", "window", "rope_base", "size"]), VALUES, max_size=3))
def test_any_options_of_a_mixer(options: dict[str, Any]) -> None:
    try:
        expand(
            make_study(
                mixers=[{"local_attention": options}], tasks="parity", widths=8, layers=1, seeds=1, budget="smoke"
            )
        )
    except InputError as error:
        one_line(error)


def _plain(key: str) -> bool:
    return key.isprintable()
