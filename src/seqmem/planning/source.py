"""Where a plan's configuration comes from: a file, a saved model's folder, the command line, or all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seqmem.errors import InputError, line_of
from seqmem.loading import nothing_imported, parse_json
from seqmem.mixers import get_mixer
from seqmem.models import SequenceConfig
from seqmem.training.described import read_mapping

OPTIONS = ("width", "vocab_size", "mlp", "mlp_width", "short_conv")


def read_config(arguments: argparse.Namespace) -> SequenceConfig:
    """The configuration of ``arguments.config`` with what the command line says in its place."""
    known: dict[str, Any] = {} if arguments.config is None else _read(Path(arguments.config))
    known |= {name: value for name in OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.layers is not None:
        known["layers"] = [name.strip() for name in arguments.layers.split(",")]
        known.pop("mixer_options", None)
    if arguments.depth is not None:
        if arguments.depth < 1:
            raise InputError(f"--depth is {arguments.depth}, expected a whole number of at least 1")
        pattern = list(known.get("layers", SequenceConfig.layers))
        known["layers"] = [pattern[n % len(pattern)] for n in range(arguments.depth)]
    saved = "model_type" in known
    try:
        config = SequenceConfig.from_dict(known) if saved else SequenceConfig(**known)
    except InputError:
        raise
    except Exception as error:  # of transformers, which gets what is not ours
        where = "" if arguments.config is None else f" '{arguments.config}'"
        raise InputError(f"config{where} is no SequenceConfig ({type(error).__name__}: {line_of(error)})") from error
    if not saved:
        return config
    with nothing_imported():  # a saved model does not decide on code that runs
        for layer in range(len(config.layers)):
            get_mixer(config.mixer(layer)[0])
    return config


def _read(path: Path) -> dict[str, Any]:
    """The keys in a file; those under ``model`` where it has such a key."""
    file = path / "config.json" if path.is_dir() else path
    found: Any = _json(file) if file.suffix == ".json" else read_mapping(file, "config", "width, layers, vocab_size")
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"config '{file}' holds no keys of SequenceConfig such as width, layers, vocab_size")
    if found.get("model_type", "seqmem") != "seqmem":
        raise InputError(f"config '{file}' is of model type {found['model_type']!r}, expected 'seqmem'")
    return found


def _json(file: Path) -> Any:
    try:
        return parse_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"config '{file}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"config '{file}' is no JSON: {line_of(error)}") from error
