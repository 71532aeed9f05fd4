"""Implementations by others that are loaded by file, without the package around them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def fla(file: str) -> ModuleType:
    """A plain-PyTorch file of flash-linear-attention, such as ``"ops/gla/naive.py"``; skips where it is not there."""
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("flash-linear-attention is not installed (pip install --no-deps fla-core)")
    path = Path(next(iter(package.submodule_search_locations))) / file
    spec = importlib.util.spec_from_file_location("fla_" + file.replace("/", "_").removesuffix(".py"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
