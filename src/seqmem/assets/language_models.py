"""Any causal language model by one name: an asset, a folder, or a model of the Hugging Face hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from seqmem.assets.fetching import fetch
from seqmem.assets.table import ASSETS
from seqmem.errors import InputError, did_you_mean


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

            return load(place), _tokenizer(place)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = _tokenizer(place)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _refused(given, place, error) from error
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
    except (OSError, ValueError) as error:
        raise _refused(place, place, error) from error


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
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{file}' cannot be read ({error}); give a folder that save_pretrained wrote, with config.json in it"
        ) from error
    return content if isinstance(content, dict) else {}
