"""The mixer contract as a test for any layer.

``check_mixer(MyLayer)`` in a pytest, ``seqmem check my_pkg.module:MyLayer`` on the command line:

    from seqmem.testing import check_mixer

    def test_my_layer():
        check_mixer(MyLayer, width=16)

The eight points, one file each:

1. split invariance: any cut of the sequence gives the same y and final state, in every form
   (:mod:`~seqmem.testing.split`);
2. causality (:mod:`~seqmem.testing.causality`);
3. independence: rows do not mix, and the same call twice gives the same answer (:mod:`~seqmem.testing.independence`);
4. padding and resets do what they say (:mod:`~seqmem.testing.padding`);
5. the state grows as declared and is not mutated (:mod:`~seqmem.testing.memory`);
6. gradients agree with finite differences, also through the state; finite at 4096 positions
   (:mod:`~seqmem.testing.gradients`);
7. weights survive a safetensors round trip; bfloat16 autocast runs (:mod:`~seqmem.testing.weights`);
8. ``attention(x)``, where given, reproduces y (:mod:`~seqmem.testing.attention`).

Beyond these, ``check_mixer(MyLayer, examples=200)`` checks so many calls that Hypothesis draws (shapes, cuts, masks,
resets, dtypes, forms) against each row read alone (:mod:`~seqmem.testing.drawn`).

How numbers are measured. The error between an answer a and its reference b is ``max |a - b| / max(1, max |b|)``; whole
numbers and booleans must be equal. Layers are in eval mode and in float64 unless a line says otherwise. Random numbers
come from one seed, so a check gives the same figures every time. Weights are first moved by a little noise (standard
deviation 0.05), so that a weight that starts at zero hides nothing; a layer that this drives out of its domain, and the
runs over thousands of positions, keep the weights as constructed.
"""

from seqmem.testing.command import run_check
from seqmem.testing.contract import POINTS, ContractError, PointResult, check_mixer, check_points

__all__ = ["POINTS", "ContractError", "PointResult", "check_mixer", "check_points", "run_check"]
