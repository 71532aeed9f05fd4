"""What somebody may have written into a YAML file."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from seqmem.errors import InputError


def values(*words: str) -> st.SearchStrategy[Any]:
    """Anything that YAML can hold, ``words`` among it."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.integers(-3, 40), st.floats(), st.text(max_size=12),
        st.sampled_from(words),
    )  # fmt: skip
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
        max_leaves=6,
    )


def quick(examples: int) -> settings:
    """So many examples, each of a few seconds at most."""
    return settings(max_examples=examples, deadline=5_000, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_line(error: InputError) -> None:
    """Fails where the error says nothing, or more than a line."""
    assert str(error)
    assert len(str(error).splitlines()) == 1
