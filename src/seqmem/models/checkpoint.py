"""Reading a saved model, with everything that can be wrong with the files said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import GenerationConfig

from seqmem.errors import InputError, line_of
from seqmem.loading import nothing_imported, parse_json
from seqmem.models.config import SequenceConfig
from seqmem.models.language_model import SequenceLM, build

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


def load(path: str | Path) -> SequenceLM:
    """The model that ``save_pretrained`` wrote into the folder ``path``, in evaluation mode and in the saved dtype.

    Raises InputError when a file is missing, cut short, of another shape or kind, or names a mixer that is not there.
    Only safetensors and JSON are read, never a pickle. A mixer given as ``package.module:ClassName`` is looked up in
    a module that you have imported: a file imports nothing.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"'{folder}' is not a folder; give the one that save_pretrained wrote")
    config = _read_config(folder)
    weights = _read_weights(folder)
    with nothing_imported():
        _require_same(weights, _outline(config), folder)
        model = _built(config, folder)
    weights = _require_same(weights, model, folder)
    if config.dtype is not None and config.dtype != model.dtype:
        torch.nn.Module.to(model, config.dtype)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_dict(_read_json(folder / "generation_config.json"))
    return model.eval()


def _built(config: SequenceConfig, folder: Path) -> SequenceLM:
    try:
        return build(config, seed=0)
    except InputError:
        raise
    except Exception as error:  # of a layer whose options contradict each other
        text = line_of(error)
        raise InputError(
            f"'{folder / 'config.json'}' describes no model ({type(error).__name__}: {text}); save the model again"
        ) from error


def _outline(config: SequenceConfig) -> SequenceLM | None:
    """The model without its numbers, so that a config which asks for more memory than the file holds numbers is
    refused before it gets it. None where a layer cannot be made so."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return SequenceLM(config)
    except Exception:  # building it for real tells
        return None


def _require_same(weights: dict[str, Tensor], model: SequenceLM | None, folder: Path) -> dict[str, Tensor]:
    """The weights that are not tied to another. Raises InputError where they are not those of the model."""
    if model is None:
        return weights
    tied = set(model.all_tied_weights_keys)
    weights = {name: value for name, value in weights.items() if name not in tied}
    _compare(weights, {name: value for name, value in model.state_dict().items() if name not in tied}, folder)
    return weights


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"'{file}' is missing; give a folder that save_pretrained wrote") from None
    except (OSError, ValueError) as error:
        raise InputError(f"'{file}' cannot be read as JSON ({error}); save the model again") from error
    if not isinstance(content, dict):
        raise InputError(f"'{file}' holds a {type(content).__name__}, expected a JSON object; save the model again")
    return content


def _read_config(folder: Path) -> SequenceConfig:
    content = _read_json(folder / "config.json")
    if content.get("model_type") != SequenceConfig.model_type:
        raise InputError(
            f"'{folder / 'config.json'}' is of model type {content.get('model_type')!r}, expected 'seqmem'; "
            "for other models use transformers.AutoModelForCausalLM"
        )
    try:
        return SequenceConfig.from_dict(content)
    except InputError as error:
        raise InputError(f"'{folder / 'config.json'}': {error}") from error
    except Exception as error:  # of transformers, which keeps what it does not know
        text = line_of(error)
        raise InputError(
            f"'{folder / 'config.json'}' is no config ({type(error).__name__}: {text}); save the model again"
        ) from error


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors by name, from one file or from the several that an index names."""
    if (folder / _INDEX).is_file():
        shards = _read_json(folder / _INDEX).get("weight_map", {})
        names = list(shards.values()) if isinstance(shards, dict) else [None]
        if not all(isinstance(name, str) and name and Path(name).name == name for name in names):
            raise InputError(f"'{folder / _INDEX}' has no valid weight_map; save the model again")
        files = [folder / name for name in sorted(set(shards.values()))]
    else:
        files = [folder / _WEIGHTS]
    weights: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            pickles = sorted(p.name for p in folder.glob("*.bin"))
            found = f"; {pickles[0]} is a pickle, which is never loaded" if pickles else ""
            raise InputError(f"'{file}' is missing{found}; save the model again with save_pretrained")
        try:
            with safe_open(file, framework="pt") as opened:
                weights |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dictionary
        except (SafetensorError, OSError) as error:
            raise InputError(f"'{file}' is cut short or damaged ({error}); save the model again") from error
    return weights


def _compare(weights: dict[str, Tensor], expected: dict[str, Tensor], folder: Path) -> None:
    """The first difference between what is in the file and what the config asks for, as an InputError."""
    absent = [name for name in expected if name not in weights]
    surplus = [name for name in weights if name not in expected]
    if absent or surplus:
        what = f"lacks {absent[0]}" if absent else f"has an unknown {surplus[0]}"
        more = len(absent) + len(surplus) - 1
        also = f" and {more} more differences" if more else ""
        raise InputError(
            f"the weights in '{folder}' do not fit its config: the file {what}{also}; save the model again"
        )
    for name, value in expected.items():
        given = weights[name]
        if given.shape != value.shape:
            raise InputError(
                f"the weights in '{folder}' do not fit its config: {name} has shape {tuple(given.shape)}, "
                f"expected {tuple(value.shape)}; save the model again"
            )
        if given.is_floating_point() != value.is_floating_point():
            raise InputError(
                f"the weights in '{folder}' do not fit its config: {name} is {given.dtype}; save the model again"
            )
