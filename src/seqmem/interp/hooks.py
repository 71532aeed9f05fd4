"""``record`` reads what passes a site, ``intervene`` changes it; :mod:`seqmem.interp.sites` lists the sites."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError, did_you_mean
from seqmem.interp.attention import eager
from seqmem.interp.families import Call, Layer
from seqmem.interp.families.layer import first, with_first
from seqmem.interp.sites import resolve
from seqmem.mixers.state import map_state

Change = Callable[[Tensor], Tensor]
Hook = Callable[[Any], Any]  # takes the value at a site, returns the one to go on with


class Trace(Mapping[str, Any]):
    """What :func:`record` saw: ``trace["layers.3.mixer.out"]`` is the value of the latest call, ``trace.all(site)`` the
    list of every call's."""

    def __init__(self, names: list[str]) -> None:
        self._seen: dict[str, list[Any]] = {name: [] for name in names}

    def all(self, site: str) -> list[Any]:
        """The values of all calls inside the block, in order."""
        if site not in self._seen:
            raise InputError(f"'{site}' was not recorded.{did_you_mean(site, self._seen)} Add it to record(...)")
        if not self._seen[site]:
            raise InputError(f"'{site}' has no value: the model was not called inside record(...)")
        return self._seen[site]

    def __getitem__(self, site: str) -> Any:
        return self.all(site)[-1]

    def __contains__(self, site: object) -> bool:
        return site in self._seen

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


@contextlib.contextmanager
def record(model: nn.Module, sites: str | Iterable[str]) -> Iterator[Trace]:
    """``with record(model, ["layers.*.mixer.out"]) as trace: model(tokens)``.

    Tensors keep their gradient history, if there is any. Blocks nest: they act in the order in which they were entered,
    so a record inside an intervene sees the changed value, one around it the unchanged one. InputError for a site that
    does not exist, or that a layer lacks, with the reason.
    """
    wanted = resolve(model, [sites] if isinstance(sites, str) else sites)
    trace = Trace([name for name, _, _ in wanted])

    def keep(name: str) -> Hook:
        def hook(value: Any) -> Any:
            trace._seen[name].append(map_state(torch.clone, value) if name.endswith(".state") else value)
            return value

        return hook

    with _attached(model, [(layer, site, keep(name)) for name, layer, site in wanted]):
        yield trace


@contextlib.contextmanager
def intervene(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """``with intervene(model, {"layers.3.mixer.out": fn}): model(tokens)``: everything after the site goes on with
    ``fn(value)``, a tensor of the same shape; ``fn`` may change the value it is given in place and return it.

    This patches a read-out: the memory that the layer carries on is the one it would have had. To change what is
    remembered use :func:`seqmem.interp.patch_state`. Interventions on one site are applied in the order in which they
    were entered. The hooks are gone at the end of the block, also after an exception.
    """

    def change(name: str, function: Change) -> Hook:
        def hook(value: Tensor) -> Tensor:
            new = function(value.clone())
            if not isinstance(new, Tensor) or new.shape != value.shape:
                got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
                raise InputError(f"the function for '{name}' returned {got}, expected shape {tuple(value.shape)}")
            return new.to(value.dtype)

        return hook

    hooks = []
    for pattern, function in changes.items():
        for name, layer, site in resolve(model, [pattern]):
            if site == "state":
                raise InputError(f"'{name}' cannot be changed as a read-out; use seqmem.interp.patch_state")
            hooks.append((layer, site, change(name, function)))
    with _attached(model, hooks):
        yield


@contextlib.contextmanager
def _attached(model: Any, hooks: list[tuple[Layer, str, Hook]]) -> Iterator[None]:
    """Hooks in place for the length of the block; eager attention where weights are asked for."""
    with contextlib.ExitStack() as stack:
        if any(site == "attention" for _, site, _ in hooks):
            stack.enter_context(eager(model))
        for layer, site, hook in hooks:
            for handle in _ATTACH[site](layer, hook):
                stack.callback(handle.remove)
        yield


def _before(module: nn.Module, hook: Hook) -> list[Any]:
    def run(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (hook(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hook(kwargs["hidden_states"])}

    return [module.register_forward_pre_hook(run, with_kwargs=True)]


def _after(module: nn.Module, hook: Hook) -> list[Any]:
    return [module.register_forward_hook(lambda _, args, output: with_first(output, hook(first(output))))]


def _heads(layer: Layer, hook: Hook) -> list[Any]:
    def run(x: Tensor) -> Tensor:
        return hook(x.unflatten(-1, (layer.heads or x.shape[-1], -1))).flatten(-2)  # (batch, time, heads, head)

    return _before(layer.out, run)


def _attention(layer: Layer, hook: Hook) -> list[Any]:
    """After the mixer: its weights; where the hook returns others, what is read through them."""

    def fresh(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if layer.started(args, kwargs):
            raise InputError(f"layers.{layer.index}.attention begins with an empty memory; give the whole text at once")

    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        call = Call(args, {**kwargs, "mixer": module}, output)
        assert layer.attention is not None  # the site would be missing
        assert layer.read is not None
        weights = layer.attention(call, slice(None))
        new = hook(weights)
        return None if new is weights else with_first(output, layer.read(call, new))

    pre = layer.mixer.register_forward_pre_hook(fresh, with_kwargs=True)
    return [pre, layer.mixer.register_forward_hook(run, with_kwargs=True)]


def _state(layer: Layer, hook: Hook) -> list[Any]:
    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        hook(layer.state(Call(args, {**kwargs, "mixer": module}, output)))

    return [layer.mixer.register_forward_hook(run, with_kwargs=True)]


_ATTACH: dict[str, Callable[[Layer, Hook], list[Any]]] = {
    "resid.in": lambda layer, hook: (
        _before(layer.block, hook) if layer.embedding_norm is None else _after(layer.embedding_norm, hook)
    ),
    "resid.out": lambda layer, hook: _after(layer.block, hook),
    "mixer.in": lambda layer, hook: _before(layer.mixer, hook),
    "mixer.out": lambda layer, hook: _after(layer.mixer, hook),
    "mlp.out": lambda layer, hook: _after(layer.mlp, hook) if layer.mlp is not None else [],
    "heads.out": _heads,
    "attention": _attention,
    "state": _state,
}
