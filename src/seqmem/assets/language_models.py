"""Any causal language model by one name: an asset, a folder, or a model of the Hugging Face hub."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from seqmem.assets.fetching import fetch
from seqmem.assets.table import ASSETS
from seqmem.errors import InputError, did_you_mean
from seqmem.loading import parse_json

PACKED = 16  # numbers that one number of a file may stand for, in files of few bits


def language_model(name: str | Path) -> tuple[Any, Any]:
    """``model, tokenizer = language_model("smollm2")``: in evaluation mode, in float32.

    name: an asset of kind "model", which is fetched where it is not here; a folder that ``save_pretrained`` wrote; or a
    model's name on the Hugging Face hub, downloaded or from its cache. The tokenizer is None for a folder that has
    none, such as a model of bytes. Only safetensors are read and no code from the hub is run. Raises InputError when
    there is no such model here.
    """
    import torch
    import transformers

    import seqmem.models.char_lstm  # noqa: F401 - registers its model type

    given, place = str(name), _place(name)
    if isinstance(place, Path):
        config = _json(place / "config.json")
        if config.get("model_type") == "seqmem":
            from seqmem.models import load

            model = load(place)
            try:
                return model, _tokenizer(place)
            except Exception as error:
                raise _refused(given, place, error) from error
    try:
        if isinstance(place, Path):
            _require_room(place)
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        model, about = loaded
        tokenizer = _tokenizer(place)
    except InputError:
        raise
    except Exception as error:  # a file of somebody else's can offend transformers in any way
        raise _refused(given, place, error) from error
    if missing := sorted(about["missing_keys"]):  # which transformers fills with random numbers
        raise InputError(f"the language model '{given}' lacks {len(missing)} of its weights, the first {missing[0]}")
    return model.eval(), tokenizer


def require_language_model(name: str | Path) -> None:
    """Raises InputError where :func:`language_model` would find no model of that name. Its description is read (or the
    asset fetched), not its weights."""
    place = _place(name)
    if isinstance(place, Path):
        _json(place / "config.json")
        return
    import transformers

    try:
        transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
    except Exception as error:
        raise _refused(place, place, error) from error


def _require_room(folder: Path) -> None:
    """Raises InputError where the config describes far more numbers, or more layers, than the folder's files hold:
    transformers would make room for all of them."""
    import torch
    import transformers
    from safetensors import safe_open

    numbers, names = 0, 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dictionary
                numbers, names = numbers + math.prod(opened.get_slice(name).get_shape()), names + 1
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    layers = getattr(config, "num_hidden_layers", 0)
    described = f"{layers:,} layers" if isinstance(layers, int) and layers > names else ""
    if not described and names:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        total = sum(p.numel() for p in model.parameters())
        described = f"{total:,} numbers" if total > PACKED * numbers else ""
    if described:
        raise InputError(
            f"the config in '{folder}' describes {described}, its files hold {names} tensors of {numbers:,} numbers; "
            "give a model that save_pretrained wrote"
        )


def _place(name: str | Path) -> str | Path:
    """The folder of an asset, fetched where it is not here, or of the user's; else the name on the hub."""
    given = str(name)
    if given not in ASSETS:
        folder = Path(given).expanduser()
        return folder if folder.is_dir() else given
    if ASSETS[given].kind != "model":
        raise InputError(f"asset '{given}' is no language model but {ASSETS[given].kind}; models: {_models()}")
    return fetch(given, report=lambda line: print(line, file=sys.stderr))


def _models() -> str:
    return ", ".join(asset.name for asset in ASSETS.values() if asset.kind == "model")


def _refused(given: str, place: str | Path, error: Exception) -> InputError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(place, Path):
        return InputError(
            f"the language model in '{place}' cannot be loaded ({first}); give one that save_pretrained wrote"
        )
    return InputError(
        f"no language model '{given}': it is no asset ({_models()}),{did_you_mean(given, ASSETS)} no folder, and "
        f"transformers found none of that name on the hub or in its cache ({first}); type 'seqmem assets' for what "
        "can be had without the hub"
    )


def _tokenizer(place: str | Path) -> Any:
    from transformers import AutoTokenizer

    if isinstance(place, Path) and not (place / "tokenizer_config.json").is_file():
        return None
    return AutoTokenizer.from_pretrained(place, trust_remote_code=False)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{file}' cannot be read ({error}); give a folder that save_pretrained wrote, with config.json in it"
        ) from error
    return content if isinstance(content, dict) else {}
