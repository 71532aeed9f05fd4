"""Every format that seqmem reads: a sound file of it, what happens to it, and what reads it.

A reader gets the folder with the file in it. It returns, or raises InputError; for files of seqmem's own it returns
None (and the file is set aside). What it returns is used as it would be.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from seqmem.assets import archives, cache, fetching, language_model
from seqmem.assets.table import ASSETS, Asset
from seqmem.cognition.free_recall import read_lists
from seqmem.context.recurrent_memory import RecurrentMemory
from seqmem.models import SequenceConfig, build, load
from seqmem.score import encode, read_text
from seqmem.tasks import get_task
from seqmem.training import checkpoint, text_eval
from seqmem.training.aggregate import aggregate
from seqmem.training.experiment import Budget, Experiment
from seqmem.training.files import to_json
from seqmem.training.loop import build_model, read_curve
from seqmem.training.optimiser import make_optimiser
from seqmem.training.result import result_of
from seqmem.training.schema import fits
from seqmem.training.store import Store
from seqmem.training.study import make_study
from tests.fuzz import training_formats
from tests.fuzz.mutations import broken, json_bytes, other_json, safetensors_bytes

STUDY = {
    "mixers": ["gru", {"local_attention": {"window": 4}}], "tasks": {"parity": {"length": 8}}, "widths": [8],
    "learning_rates": [0.01], "seeds": 2, "title": "t", "notes": ["n"],
    "published": [{"task": "parity", "figures": {"gru": [[8, 0.5]]}, "source": "s", "at": "beyond"}],
}  # fmt: skip
EXPERIMENT = Experiment.model_validate(
    {
        "mixer": "gru", "task": "parity", "task_options": {"length": 4}, "study_width": 4, "width": 4, "mlp_width": 4,
        "layers": 1, "learning_rate": 0.01, "seed": 0,
        "budget": Budget(
            name="test", steps=2, batch_size=2, warmup=1, weight_decay=0.1, clip=1.0, eval_every=1,
            validation_tokens=8, test_tokens=8,
        ),
    }
)  # fmt: skip
METRICS: Any = {"name": "accuracy", "chance": 0.5, "validation": 0.6, "test": {"4": {"all": 0.5}, "8": {"all": None}}}


class Format(NamedTuple):
    """``make`` writes sound files into a folder and returns the one that is harmed; ``harm``: of its bytes; ``read``
    the folder."""

    make: Callable[[Path], Path]
    harm: Callable[[bytes], SearchStrategy[bytes]]
    read: Callable[[Path], Any]


def _write(name: str, content: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else to_json(content).encode())
        return path

    return make


def _json(whole: bytes) -> SearchStrategy[bytes]:
    return json_bytes(json.loads(whole))


def _lines(whole: bytes) -> SearchStrategy[bytes]:
    first = json.loads(whole.splitlines()[0])
    changed = other_json(first).map(lambda value: json.dumps(value).encode() + b"\n" + whole)
    return st.one_of(changed, broken(whole))


# What is read from others.


def _ours(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        layers = ["gru", {"name": "local_attention", "heads": 1, "window": 4}, "hyena"]
        model = build(SequenceConfig(vocab_size=16, width=4, layers=layers, short_conv=2, tie_embeddings=False))
        model.generation_config.eos_token_id = 3
        model.save_pretrained(folder, max_shard_size="2KB" if name.endswith("index.json") else "1GB")
        return folder / name

    return make


def _read_ours(folder: Path) -> None:
    model = load(folder)
    if len(model.config.layers) < 10 and not model.config.positions:
        model.run(torch.zeros(1, 3, dtype=torch.long))


def _theirs(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import transformers
        from tokenizers import Tokenizer, models, pre_tokenizers

        config = transformers.GPT2Config(vocab_size=12, n_embd=8, n_layer=1, n_head=2, n_positions=16)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
        inner = Tokenizer(models.WordLevel({"<u>": 0, "a": 1, "b": 2}, unk_token="<u>"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<u>").save_pretrained(folder)
        return folder / name

    return make


def _memory(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        _theirs("config.json")(folder)
        model, _ = language_model(folder)
        RecurrentMemory(model, segment=4, tokens=2).save_pretrained(folder)
        return folder / name

    return make


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy/data/a.txt", b"first " * 20)
        archive.writestr("toy/data/b.txt", b"second")
    return folder / "a.whl"


def _tar(folder: Path) -> Path:
    (folder / "a.txt").write_bytes(b"first")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        archive.add(folder / "a.txt", "toy/data/a.txt")
    return folder / "a.tar.gz"


def _deb(folder: Path) -> Path:
    inner = _tar(folder).read_bytes()
    member = b"data.tar.gz/".ljust(48) + str(len(inner)).encode().ljust(10) + b"`\n" + inner
    (folder / "a.deb").write_bytes(b"!<arch>\n" + b"debian-binary".ljust(48) + b"4".ljust(10) + b"`\n2.0\n" + member)
    return folder / "a.deb"


def _extract(name: str) -> Callable[[Path], Any]:
    return lambda folder: archives.extract(folder / name, ["toy/data/*.txt"], folder / "target")


def _converted(name: str, make: Callable[[Path], Path]) -> Format:
    """The file of an asset, as it is converted once it is fetched."""
    asset: Asset = ASSETS[name]

    def read(folder: Path) -> None:
        (folder / "ready").mkdir(exist_ok=True)
        fetching._convert(asset, folder)

    harm = _json if name == "mnist-10k" else broken
    return Format(lambda folder: make(_inside(folder)), harm, read)


def _inside(folder: Path) -> Path:
    (folder / "source").mkdir(exist_ok=True)
    return folder / "source"


def _gguf(folder: Path) -> Path:
    from tests.assets.test_converting import _llama
    from tests.assets.test_converting import _write as write

    write(folder / "tiny.gguf", _llama(), True)
    return folder / "tiny.gguf"


def _novels(folder: Path) -> Path:
    import struct
    import zlib

    from tests.assets.test_converting import _serialised

    packed = zlib.compress(_serialised(["EMMA", None, "handsome"]))
    (folder / "a.rdb").write_bytes(struct.pack(">I", len(packed)) + packed)
    return folder / "a.rdb"


def _digits(folder: Path) -> Path:
    (folder / "digits").mkdir()
    for digit in range(10):
        (folder / "digits" / f"{digit}.json").write_text(json.dumps({"data": [0.5] * 784}))
    return folder / "digits" / "3.json"


def _read_score(folder: Path) -> None:
    encode(read_text(str(folder / "text.txt")), build(SequenceConfig(256, 4, layers=["gru"])), None, "m")


def _images(folder: Path) -> Path:
    path = folder / "images.safetensors"
    from safetensors.torch import save_file

    save_file({"images": torch.arange(48).view(12, 2, 2), "labels": torch.arange(12) % 3}, path)
    return path


def _read_images(folder: Path) -> None:
    task = get_task("digits", path=str(folder / "images.safetensors"))
    task.sample(2, task.train_length, torch.Generator().manual_seed(0))


def _read_bytes(folder: Path) -> None:
    task = get_task("bytes", path=str(folder / "text.txt"), length=4)
    task.sample(2, 4, torch.Generator().manual_seed(0))


# What seqmem writes for itself, and finds again.


def _checkpoint(folder: Path) -> Path:
    model = build_model(EXPERIMENT, 4)
    optimiser = make_optimiser(model, 0.1)
    model.run(torch.zeros(1, 2, dtype=torch.long))[0].sum().backward()
    optimiser.step()
    checkpoint.save(folder, model, optimiser, checkpoint.Counters(step=1, looked=1, step_seconds=[0.1], validation=0.5))
    return folder / checkpoint.NAME


def _read_checkpoint(folder: Path) -> None:
    model = build_model(EXPERIMENT, 4)
    optimiser = make_optimiser(model, 0.1)
    counters = checkpoint.load(folder, model, optimiser)
    assert counters is not None
    model.run(torch.zeros(1, 2, dtype=torch.long))[0].sum().backward()
    optimiser.step()  # with the moments that were found
    assert (
        counters.loss_sum / max(1, counters.loss_count) + counters.wall_seconds + sum(counters.step_seconds) is not None
    )


def _read_result(folder: Path) -> None:
    store = Store(folder)
    found = store.result(EXPERIMENT)
    if found is not None:
        EXPERIMENT.told(found)
        aggregate([found])


def _read_curve(folder: Path) -> None:
    for point in read_curve(folder):
        assert point["step"] <= 10**400
        to_json(point)


def _read_cell(folder: Path) -> None:
    found = text_eval._found(folder / "c.json")
    if found is not None:
        assert f"{found['right']} of {found['count']} {found['length']:,}"


def _read_manifest(folder: Path) -> None:
    cache.is_here(ASSETS["sotu"])


CELL = {
    "cell": "c", "task": "t", "length": 4, "right": 1, "count": 2, "low": 0.0, "high": 1.0, "tokens": 8, "seconds": 0.1,
    "depths": [{"depth": 0.0, "right": 1, "count": 2, "low": 0.0, "high": 1.0, "nats": 0.1}],
}  # fmt: skip
POINTS = [{"step": n, "tokens": 8 * n, "loss": 0.7, "validation": None} for n in (1, 2)]
CURVE = "".join(json.dumps(point) + "\n" for point in POINTS).encode()
RECALL = b"subject,list,position,trial_type,item\n1,1,1,study,a\n1,1,2,study,b\n1,1,1,recall,b\n"
RESULT = result_of(EXPERIMENT, status="done", metrics=METRICS)
assert fits(CELL, text_eval.Cell)

FORMATS: dict[str, Format] = {
    "study": Format(_write("study.yaml", STUDY), _json, lambda folder: make_study(folder / "study.yaml")),
    "model: config": Format(_ours("config.json"), _json, _read_ours),
    "model: generation config": Format(_ours("generation_config.json"), _json, _read_ours),
    "model: weights": Format(_ours("model.safetensors"), safetensors_bytes, _read_ours),
    "model: index": Format(_ours("model.safetensors.index.json"), _json, _read_ours),
    "transformers: config": Format(_theirs("config.json"), _json, language_model),
    "transformers: weights": Format(_theirs("model.safetensors"), safetensors_bytes, language_model),
    "tokenizer": Format(_theirs("tokenizer.json"), _json, language_model),
    "tokenizer: config": Format(_theirs("tokenizer_config.json"), _json, language_model),
    "memory: options": Format(_memory("recurrent_memory.json"), _json, RecurrentMemory.from_pretrained),
    "memory: weights": Format(
        _memory("recurrent_memory.safetensors"), safetensors_bytes, RecurrentMemory.from_pretrained
    ),
    "archive: zip": Format(_zip, broken, _extract("a.whl")),
    "archive: tar": Format(_tar, broken, _extract("a.tar.gz")),
    "archive: deb": Format(_deb, broken, _extract("a.deb")),
    "asset: gguf": _converted("smollm2", _gguf),
    "asset: novels": _converted("austen", _novels),
    "asset: digits": _converted("mnist-10k", _digits),
    "recall table": Format(_write("r.csv", RECALL), broken, lambda folder: read_lists(folder / "r.csv")),
    "text to score": Format(_write("text.txt", "Call me Ishmaël.\n".encode() * 3), broken, _read_score),
    "text of a task": Format(_write("text.txt", b"Call me Ishmael.\n" * 200), broken, _read_bytes),
    "images of a task": Format(_images, safetensors_bytes, _read_images),
    "checkpoint": Format(_checkpoint, safetensors_bytes, _read_checkpoint),
    "result": Format(
        _write(f"{EXPERIMENT.hash[:2]}/{EXPERIMENT.hash}/result.json", RESULT), _json, _read_result
    ),
    "curve": Format(_write("metrics.jsonl", CURVE), _lines, _read_curve),
    "cell of eval": Format(_write("c.json", CELL), _json, _read_cell),
    "manifest": Format(
        _write("sotu/asset.json", {**cache._origin(ASSETS["sotu"]), "files": {"a": {"bytes": 1, "sha256": "x"}}}),
        _json, _read_manifest,
    ),
    "tokens: index": Format(training_formats.prepared("index.json"), _json, training_formats.read_tokens("data")),
    "tokens: documents": Format(
        training_formats.prepared("documents.bin"), broken, training_formats.read_tokens("data")
    ),
    "tokens: shard": Format(training_formats.prepared("shard-00001.bin"), broken, training_formats.read_tokens("data")),
    "tokens: npy": Format(_write("a.npy", training_formats.npy()), broken, training_formats.read_tokens("a.npy")),
    "tokens: parquet": Format(
        _write("a.parquet", training_formats.parquet()), broken, training_formats.read_tokens("a.parquet")
    ),
    "settings of train": Format(_write("train.yaml", training_formats.SETTINGS), _json, training_formats.read_train),
    "config to plan": Format(_write("config.json", training_formats.CONFIG), _json, training_formats.read_plan),
}  # fmt: skip


def fresh(folder: Path) -> None:
    """Empty it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
