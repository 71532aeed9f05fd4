import json

import pytest
from transformers import AutoConfig

from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM


def test_json_round_trip(tmp_path):
    config = SequenceConfig(
        300,
        32,
        ["lstm", {"name": "attention", "heads": 2}, "attention"],
        mixer_options={"attention": {"heads": 4, "base": 500.0}},
        eos_token_id=[1, 2],
        pad_token_id=0,
        tie_embeddings=False,
    )
    assert config.layers == [
        "lstm",
        {"name": "attention", "heads": 2, "base": 500.0},
        {"name": "attention", "heads": 4, "base": 500.0},
    ]
    assert config.mixer(0) == ("lstm", {})
    assert config.mixer(1) == ("attention", {"heads": 2, "base": 500.0})
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, SequenceConfig)
    for name in SequenceConfig.__annotations__:
        assert getattr(again, name) == getattr(config, name), name
    assert json.loads(config.to_json_string())["model_type"] == "seqmem"


def test_names_that_tools_look_for():
    config = SequenceConfig(width=48, layers=["gru"] * 3)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (48, 3, 128)
    assert config.tie_word_embeddings is True
    assert SequenceConfig(hidden_size=24, layers=["gru"], intermediate_size=0).width == 24


@pytest.mark.parametrize(("width", "hidden"), [(64, 168), (96, 256), (128, 344), (1, 8)])
def test_default_mlp_width_is_eight_thirds_to_a_multiple_of_eight(width, hidden):
    assert SequenceConfig(width=width).mlp_width == hidden


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"vocab_size": 0}, ["vocab_size is 0", "at least 1"]),
        ({"vocab_size": 2.5}, ["2.5"]),
        ({"norm": "batch"}, ["norm is 'batch'", "rms, layer"]),
        ({"mlp_activation": "mish"}, ["'mish'", "silu"]),
        ({"norm_eps": [1e-5]}, ["norm_eps has 1 numbers", "4"]),
        ({"positions": -1}, ["positions is -1"]),
        ({"logit_softcap": 0}, ["logit_softcap is 0"]),
        ({"width": True}, ["width is True"]),
        ({"layers": []}, ["layers is []"]),
        ({"layers": "mamba"}, ["expected a list"]),
        ({"layers": ["mambo"]}, ["'mambo'", "Did you mean 'mamba'?"]),
        ({"layers": [{"heads": 2}]}, ["layers[0] has name None"]),
        ({"layers": [3]}, ["layers[0] is 3"]),
        ({"layers": [{"name": "gru", "f": object()}]}, ["JSON"]),
        ({"layers": ["gru"], "mixer_options": {"lstm": {}}}, ["'lstm'", "no layer"]),
        ({"layers": ["gru"], "mixer_options": {"gru": 3}}, ["expected a dictionary"]),
        ({"mlp_width": -8}, ["mlp_width is -8"]),
        ({"norm_eps": 0}, ["norm_eps"]),
        ({"initializer_range": float("nan")}, ["initializer_range"]),
        ({"eos_token_id": 256}, ["eos_token_id is 256", "255"]),
        ({"mlp_widht": 8}, ["mlp_widht", "Did you mean 'mlp_width'?"]),
    ],
)
def test_bad_values_are_named_in_one_line(arguments, words):
    with pytest.raises(InputError) as error:
        SequenceConfig(**arguments)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"name": "tests.models.toy:Attention", "scales": 2}, ["'scales'", "Did you mean 'scale'?"]),
        ({"name": "tests.models.toy:Attention", "scale": "big"}, ["width 16", "TypeError"]),
        ("tests.models.toy:Atention", ["Did you mean 'Attention'?"]),
        ("tests.models.toy:NotALayer", ["torch.nn.Module"]),
        ("no_such_package:Layer", ["no_such_package"]),
    ],
)
def test_a_mixer_that_cannot_be_built_is_named_in_one_line(layer, words):
    with pytest.raises(InputError) as error:
        SequenceLM(SequenceConfig(10, 16, [layer]))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
