"""Every layer of the table holds the public contract, as a user's own would have to."""

import pytest

from seqmem.mixers import MIXERS, get_mixer
from seqmem.testing import check_mixer


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_holds_the_contract(name: str) -> None:
    check_mixer(get_mixer(name), width=16)  # that of the tests of decoding: their kernels are compiled already
    assert getattr(get_mixer(name), "memory", None) == MIXERS[name].memory
