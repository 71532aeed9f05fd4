"""A description and its hash."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from seqmem.mixers import get_mixer
from seqmem.training.experiment import Experiment, source_digest
from seqmem.training.seeds import generator
from tests.training.helpers import experiment


def test_the_hash_is_of_the_content() -> None:
    one = experiment()
    assert one.hash == experiment().hash
    assert one.hash == Experiment.model_validate_json(one.model_dump_json()).hash
    assert len(one.hash) == 16
    changed = [
        experiment(seed=1),
        experiment(steps=31),
        experiment(task_options={"length": 9}),
        experiment(mixer_options={"heads": 1}),
        experiment(learning_rate=0.011),
        experiment(source="0123"),
    ]
    assert len({one.hash, *(other.hash for other in changed)}) == 7


def test_descriptions_are_frozen_and_complete() -> None:
    with pytest.raises(ValidationError):
        experiment().seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        experiment(wdith=8)
    with pytest.raises(ValidationError):
        experiment(learning_rate=0.0)


def test_an_edited_layer_is_another_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "layer_that_is_edited.py"
    path.write_text("from torch import nn\nclass Mine(nn.Module): pass\n")
    first = source_digest(get_mixer("layer_that_is_edited:Mine"))
    path.write_text("from torch import nn\nclass Mine(nn.Module): bias = True\n")
    importlib.reload(sys.modules["layer_that_is_edited"])
    second = source_digest(get_mixer("layer_that_is_edited:Mine"))
    assert first != second
    assert source_digest(get_mixer("lstm")) is None


def test_draws_depend_on_their_address_alone() -> None:
    draws = {
        generator(*where).initial_seed() for where in [(0, "train", 0), (0, "train", 1), (1, "train", 0), (0, "x", 0)]
    }
    assert len(draws) == 4
    assert generator(3, "train", 7).initial_seed() == generator(3, "train", 7).initial_seed()
