"""What holds for every task: shapes, the same batch from the same generator, and the table."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks import TASKS, describe, get_task
from seqmem.tasks.base import IGNORE, Batch


def digest(batch: Batch) -> str:
    tensors = [tensor for tensor in batch if tensor is not None]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


GOLDEN = {  # of 12 examples at the training length, seed 0; published results are those of these batches
    "mqar": "d5fb884498f25db1",
    "copying": "2a619e0afdaf0809",
    "selective_copying": "0799b9cd399bb871",
    "parity": "26309d9e9774bf9a",
    "noisy_recall": "ad7038af2bc59dfe",
    "memorization": "c7fc715b4309e07a",
    "scratchpad_parity": "785e34f14d4d99d9",
    "chomsky": "e5191015716d6a49",
    "memory_horizon": "cc2e6cfbebefd4fb",
    "set_intersection": "335dbbef89fdf8ad",
    "bytes": "9d337825dbe7187c",
    "path_star": "15e79abb67d04878",
    "stories": "a83c718721cfb851",
    "digits": "1aeec4a2253d8532",
    "delayed_copying": "c997365f2775132c",
    "dyck": "113d1fb6eb51fe97",
    "cross_serial": "f96bacf74fd1a6c3",
    "reber": "72e0aa10de616bfd",
    "in_context_recall": "c4ad58faf11157b9",
    "fuzzy_recall": "460644760f4b91bb",
    "compression": "240d44e80d16967a",
    "compositional_recall": "7b553713dbd490f3",
    "induction": "240757cfc4dc70f8",
    "adding": "61b69aef149bf3b0",
    "listops": "34e95bbc68f4a1b4",
    "fact_recall": "31f70fa07639b0dc",
    "permuted_digits": "4c60ae8a596ead5f",
    "templates": "8826dae2da707493",
    "needle": "17d695a10b0cfca2",
    "multi_needle": "e42253d0e21fa898",
    "passkey": "36d19049f33dc785",
    "variable_tracking": "f0a0f81548425427",
    "question_answering": "a67ed7bbbffe71c3",
    "key_value_updates": "c3dc1fa24fa20c20",
    "hops": "b4c4177d5a88520b",
    "scan": "94423122a895c209",
    "othello": "6a6aa25d19195e7b",
    "passages": "1153f13fb899def8",
    "bit_stream": "984be655b5796ad6",
    "embers": "4b3397b56adc7a2e",
    "tree_or_line": "4db00ce224832418",
    "temporal_order": "9e12c2d181b5670d",
    "cloze_stories": "962558f10cc9d306",
    "knowledge_conflicts": "03d998ed7abb5688",
    "concept_strings": "a6c074dd5fff35a4",
}


def test_there_is_a_golden_batch_for_every_task() -> None:
    assert set(GOLDEN) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_golden_batch(generator: torch.Generator, name: str) -> None:
    task = get_task(name)
    assert digest(task.sample(12, task.train_length, generator)) == GOLDEN[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_generator_alone_decides(name: str) -> None:
    task = get_task(name)
    a, b = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    torch.manual_seed(1)
    first = [digest(task.sample(8, task.train_length, a)) for _ in range(2)]
    torch.manual_seed(2)
    assert first == [digest(get_task(name).sample(8, task.train_length, b)) for _ in range(2)]
    assert first[0] != first[1]
    assert torch.equal(a.get_state(), b.get_state())
    assert get_task(name).example(a) == get_task(name).example(b)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_batches_have_the_declared_shape_and_tokens(generator: torch.Generator, name: str, split: str) -> None:
    task = get_task(name)
    assert task.test_lengths[0] == task.train_length
    for length in task.test_lengths:
        batch = task.sample(6, length, generator, split=split)  # type: ignore[arg-type]
        assert batch.inputs.shape == batch.targets.shape == (6, length)
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.inputs.is_contiguous()
        assert batch.targets.is_contiguous()
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() < task.vocab_size
        asked = batch.targets[batch.targets != IGNORE]
        assert 0 <= asked.min() <= asked.max() < task.vocab_size
        assert (batch.targets != IGNORE).any(dim=1).all()
        if task.slices:
            assert batch.groups is not None
            assert batch.groups.shape == (6,)
            assert batch.groups.max() < len(task.slices)
        else:
            assert batch.groups is None


@pytest.mark.parametrize("name", [name for name in TASKS if "digits" not in name and name not in ("passages", "scan")])
def test_tasks_are_tested_at_four_times_the_training_length(name: str) -> None:
    task = get_task(name)
    assert max(task.test_lengths) >= 4 * task.train_length
    length = 2 * task.train_length
    assert get_task(name, test_lengths=length).test_lengths == (task.train_length, length)
    assert get_task(name, test_lengths=[length, task.train_length]).test_lengths == (task.train_length, length)


@pytest.mark.parametrize("name", TASKS)
def test_bad_requests_say_so(generator: torch.Generator, name: str) -> None:
    task = get_task(name)
    length = task.train_length
    for arguments, split, says in (
        ((0, length, generator), "train", "batch_size=0, expected at least 1"),
        ((True, length, generator), "train", "batch_size=True is of type bool"),
        ((2, 0, generator), "train", "length=0, expected at least 1"),
        ((2, "64", generator), "train", "length='64' is of type str"),
        ((2, length, generator), "tset", "unknown split 'tset'. Did you mean 'test'? Known: train, validation, test"),
        ((2, length, 0), "train", "generator=0, expected a torch.Generator"),
    ):
        with pytest.raises(InputError) as error:
            task.sample(*arguments, split=split)  # type: ignore[arg-type]
        assert str(error.value).startswith(f"task '{name}': ")
        assert says in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", TASKS)
def test_description_is_plain_data(name: str) -> None:
    described = describe(name)
    assert json.loads(json.dumps(described))["name"] == name
    assert described["summary"]
    assert described["chance"] > 0
    assert "metric" not in described["options"]
    assert get_task(name, **described["options"]) == get_task(name)


def test_description_follows_the_options() -> None:
    described = describe("mqar", pairs=[2, 4], length=32)
    assert described["slices"] == ["pairs=2", "pairs=4"]
    assert described["test_lengths"] == [32, 64, 128]


def test_lists_from_a_study_file_become_tuples() -> None:
    assert get_task("mqar", pairs=[4], length=64) == get_task("mqar", pairs=4, length=64)
    assert hash(get_task("mqar", pairs=[4])) == hash(get_task("mqar", pairs=(4,)))


def test_unknown_names_and_options_say_so() -> None:
    with pytest.raises(InputError, match=r"unknown task 'mqra'\. Did you mean 'mqar'"):
        get_task("mqra")
    with pytest.raises(InputError, match=r"has no option 'lenght'\. Did you mean 'length'"):
        get_task("parity", lenght=3)
    with pytest.raises(InputError, match="has no option 'metric'"):
        get_task("mqar", metric="accuracy")
    with pytest.raises(InputError, match=r"task 'digits' has no option 'length'\. Known: path"):
        get_task("digits", length=64)
