import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM, build, load
from tests.models.stacks import AVERAGE, BUFFERED, STACKS, small

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])


def logits_of(model):
    with torch.no_grad():
        return model.eval().run(IDS)[0]


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded_logits_are_identical(layers, tied, tmp_path):
    model = small(layers, seed=2, tie_embeddings=tied, eos_token_id=3)
    with torch.no_grad():
        for p in model.parameters():  # away from any constructor's values
            p.add_(0.01)
    model.save_pretrained(tmp_path)
    expected = logits_of(model)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    for loaded in (
        SequenceLM.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
        load(tmp_path),
    ):
        assert torch.equal(logits_of(loaded), expected)
        assert not loaded.training
        assert loaded.generation_config.eos_token_id == 3
        assert (loaded.lm_head.weight is loaded.embed_tokens.weight) == tied
        named = dict(loaded.named_buffers())
        for name, buffer in model.named_buffers():
            assert torch.equal(named[name], buffer), name
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_the_file_lacks_keep_their_layers_initialisation(tmp_path):
    model = small([AVERAGE, BUFFERED])
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = ("layers.0.mixer.decay", "layers.1.mixer.out.bias")
    save_file(
        {n: w for n, w in weights.items() if n not in gone}, tmp_path / "model.safetensors", metadata={"format": "pt"}
    )
    partial = SequenceLM.from_pretrained(tmp_path)
    assert (partial.layers[0].mixer.decay == 0.8).all()
    assert (partial.layers[1].mixer.out.bias == 0.125).all()
    assert torch.equal(partial.layers[1].mixer.out.weight, weights["layers.1.mixer.out.weight"])


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
def test_bfloat16(layers, tmp_path):
    model = small(layers, initializer_range=0.1)
    model.save_pretrained(tmp_path)
    full = logits_of(model)
    half = SequenceLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert torch.equal(logits_of(half), logits_of(model.bfloat16()))
    error = (logits_of(half).float() - full).norm() / full.norm()
    assert error < 0.05
    half.save_pretrained(tmp_path / "half")
    again = load(tmp_path / "half")
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits_of(again), logits_of(half))


def test_several_files(tmp_path):
    model = small(STACKS["toy hybrid"])
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert torch.equal(logits_of(load(tmp_path)), logits_of(model))
    assert torch.equal(logits_of(SequenceLM.from_pretrained(tmp_path)), logits_of(model))
    next(tmp_path.glob("model-00002*.safetensors")).unlink()
    with pytest.raises(InputError, match=r"model-00002.* is missing"):
        load(tmp_path)


def _edit(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def _cut(name, share):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def _rename(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def _replace(key, value):
    def change(folder):
        weights = load_file(folder / "model.safetensors")
        weights.pop(key, None) if value is None else weights.update({key: value})
        save_file(weights, folder / "model.safetensors")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, "is not a folder"),
        (_rename("config.json", "x"), "config.json' is missing"),
        (_cut("config.json", 0.5), "cannot be read as JSON"),
        (_edit(model_type="llama"), "'llama', expected 'seqmem'"),
        (_edit(layers=["mambo"]), "Did you mean 'mamba'"),
        (_edit(layers=["another_package:Layer"] * 2), "if you trust it, import another_package first"),
        (_edit(width="wide"), "width is 'wide'"),
        (_edit(width=24, mlp_width=88), "expected"),
        (_edit(layers=[AVERAGE]), "unknown layers.1"),
        (_edit(layers=[AVERAGE] * 3), "lacks layers.2"),
        (_cut("model.safetensors", 0.7), "cut short or damaged"),
        (_cut("model.safetensors", 0.01), "cut short or damaged"),
        (_cut("model.safetensors", 0), "cut short or damaged"),
        (_rename("model.safetensors", "pytorch_model.bin"), "is a pickle, which is never loaded"),
        (_rename("model.safetensors", "x"), "model.safetensors' is missing"),
        (_replace("layers.0.mixer.decay", torch.zeros(7)), r"layers.0.mixer.decay has shape \(7,\), expected \(32,\)"),
        (_replace("layers.0.mixer.decay", torch.zeros(32).int()), "layers.0.mixer.decay is torch.int32"),
        (_replace("norm.weight", None), "lacks norm.weight"),
        (_replace("else", torch.zeros(2)), "unknown else"),
    ],
)
def test_a_damaged_checkpoint_is_named_in_one_line(change, words, tmp_path):
    folder = tmp_path / "model"
    small([AVERAGE, AVERAGE]).save_pretrained(folder)
    change(folder)
    with pytest.raises(InputError, match=words) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_mask_of_its_shards(tmp_path):
    build(SequenceConfig(8, 8, [AVERAGE])).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"norm.weight": "../elsewhere.safetensors"}}'
    )
    with pytest.raises(InputError, match="weight_map"):
        load(tmp_path)


def test_code_beside_a_model_is_not_run(tmp_path, monkeypatch, capsys):
    """A layer named in config.json was imported, from the current folder too: a stranger's model could run anything."""
    from seqmem.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build(SequenceConfig(256, 8, [AVERAGE]))
    (tmp_path / "strange_layers.py").write_text(
        "from pathlib import Path\nPath('exploded').touch()\nfrom tests.models.toy import Average as Mean\n"
    )
    (tmp_path / "text.txt").write_text("Call me Ishmael.")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "layers": ["strange_layers:Mean"]}))
    for read in (load, SequenceLM.from_pretrained, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(InputError, match=r"if you trust it, import strange_layers first"):
            read(tmp_path)
    assert main(["score", "text.txt", "--model", "."]) == 2
    assert "seqmem --import strange_layers ..." in capsys.readouterr().err
    assert main(["--import", "no_such_module", "mixers"]) == 2
    assert "cannot import 'no_such_module' for --import" in capsys.readouterr().err
    assert not (tmp_path / "exploded").exists()
    assert main(["--import", "strange_layers", "score", "text.txt", "--model", "."]) == 0
    assert (tmp_path / "exploded").exists()


def test_a_config_that_asks_for_more_than_the_file_holds_is_refused_before_it_gets_it(tmp_path):
    """The model was built first, in as much memory as the config asked for."""
    build(SequenceConfig(16, 8, ["gru"])).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 2**40}))
    with pytest.raises(InputError, match=r"has shape \(16, 8\), expected \(1099511627776, 8\)"):
        load(tmp_path)
