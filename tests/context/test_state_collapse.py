"""The remedies against state collapse, and what they are for: equations against slow loops, and planted growth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seqmem.context import forget_threshold, passkey_capacity, without_collapse
from seqmem.errors import InputError
from seqmem.interp import attention_of, loss_by_position, retention, state_growth
from seqmem.mixers.forgetful_mamba2 import ForgetfulMamba2
from seqmem.mixers.mamba2 import Mamba2
from seqmem.models import SequenceConfig, build, load
from seqmem.testing import check_mixer

SIZES = {"heads": 2, "state_size": 3, "groups": 1}
REMEDIES = {
    "plain": {},
    "rates": {"forget": 1.7, "insert": 0.6},
    "limit": {"limit": 0.4, "every": 4},
    "window": {"window": 5},
    "window and rates": {"window": 3, "forget": 1.3, "insert": 0.5},
}
every_remedy = pytest.mark.parametrize("remedy", REMEDIES.values(), ids=REMEDIES)


def layer(generator, **remedy):
    torch.manual_seed(3)
    mixer = ForgetfulMamba2(8, **SIZES, **remedy).double()
    with torch.no_grad():
        for p in mixer.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        mixer.dt_bias.add_(2.0)  # steps of order 1 and a state to match
        mixer.A_log.sub_(2.0)
    return mixer, torch.randn(2, 13, 8, generator=generator, dtype=torch.float64)


def slowly(mixer, x, forget=1.0, insert=1.0, limit=None, every=128, window=None):
    """The equations, position by position, from the projections on."""
    C, B, u, dt, z, _ = mixer._inputs(x, None, None, None)
    a = (-mixer.A_log.exp() * dt * forget).exp()  # (batch, time, heads)
    outer = insert * torch.einsum("bthn,bth,bthp->bthnp", B, dt, u)
    y = []
    s = torch.zeros_like(outer[:, 0])
    for t in range(x.shape[1]):
        if window is None:
            s = a[:, t, :, None, None] * s + outer[:, t]
        else:  # anew over the window
            s = torch.zeros_like(s)
            for j in range(max(0, t - window + 1), t + 1):
                s = a[:, j, :, None, None] * s + outer[:, j]
        y.append(torch.einsum("bhn,bhnp->bhp", C[:, t], s))
        if limit is not None and (t + 1) % every == 0:
            size = s.square().sum((-2, -1), keepdim=True).sqrt()
            s = torch.where(size > limit, s * limit / size, s)
    y = (torch.stack(y, 1) + mixer.D[:, None] * u).flatten(2) * F.silu(z)
    return mixer.out(y * (y.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * mixer.norm_weight)


@every_remedy
@torch.no_grad()
def test_it_is_the_equations_in_every_form_and_piece_by_piece(remedy, generator):
    mixer, x = layer(generator, **remedy)
    expected = slowly(mixer, x, **remedy)
    assert (expected - slowly(mixer, x)).abs().max() > 1e-3 or not remedy  # the remedy does something
    for form in ("auto", "parallel", "chunk", "recurrent"):
        torch.testing.assert_close(mixer(x, form=form)[0], expected, atol=1e-10, rtol=1e-8)
        state, pieces = None, []
        for piece in x.split([1, 6, 1, 5], 1):
            y, state = mixer(piece, state, form=form)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, 1), expected, atol=1e-10, rtol=1e-8)


@torch.no_grad()
def test_without_remedies_it_is_mamba2(generator):
    mixer, x = layer(generator)
    plain = Mamba2(8, **SIZES).double()
    plain.load_state_dict(mixer.state_dict())
    torch.testing.assert_close(mixer(x)[0], plain(x)[0])


def test_more_forgetting_keeps_the_contract():
    """Masks and resets too, which the other remedies refuse."""
    check_mixer(lambda width: ForgetfulMamba2(width, **SIZES, forget=1.5, insert=0.5))


@pytest.mark.parametrize("remedy", ["rates", "window and rates"])
@torch.no_grad()
def test_attention_reads_the_same(remedy, generator):
    mixer, x = layer(generator, **REMEDIES[remedy])
    torch.testing.assert_close(mixer.read(x, mixer.attention(x)), mixer(x)[0])


@torch.no_grad()
def test_a_whole_model_shares_its_weights_and_is_saved(tmp_path, generator):
    layers = ["gru", {"name": "mamba2", "heads": 4, "state_size": 3}]
    lm = build(SequenceConfig(vocab_size=11, width=16, layers=layers)).eval()
    ids = torch.randint(11, (2, 20), generator=generator)
    before = lm.run(ids)[0]
    found = without_collapse(lm, window=4)
    assert found.layers[1].mixer.in_proj.weight is lm.layers[1].mixer.in_proj.weight
    torch.testing.assert_close(lm.run(ids)[0], before)
    after = found.run(ids)[0]
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().max() > 1e-4
    assert attention_of(found, ids, layers=[1])[1].tril(-4).abs().max() == 0
    found.save_pretrained(tmp_path)
    torch.testing.assert_close(load(tmp_path).run(ids)[0], after)
    again = without_collapse(found, forget=2.0)  # in place of the window
    assert (again.layers[1].mixer.window, again.layers[1].mixer.forget) == (None, 2.0)


@torch.no_grad()
def test_it_takes_mamba2_of_transformers(generator):
    from tests.models.from_hf.families import mamba2, randomised

    original = randomised(mamba2())
    ids = torch.randint(3, 37, (2, 12), generator=generator)
    found = without_collapse(original, insert=1.0)
    torch.testing.assert_close(found(ids).logits, original(ids).logits, atol=1e-5, rtol=1e-5)
    windowed = without_collapse(original, window=2)(ids).logits
    assert (windowed - found(ids).logits)[:, :2].abs().max() < 1e-5 < (windowed - found(ids).logits).abs().max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ForgetfulMamba2(8, forget=0.0), "forget is 0.0"),
        (lambda: ForgetfulMamba2(8, window=0), "window is 0"),
        (lambda: ForgetfulMamba2(8, window=2, limit=1.0), "exclude each other"),
        (lambda: ForgetfulMamba2(8, window=2)(torch.zeros(1, 2, 8), reset=torch.ones(1, 2).bool()), "mask and reset"),
        (lambda: ForgetfulMamba2(8, limit=1.0).attention(torch.zeros(1, 2, 8)), "not linear"),
        (lambda: without_collapse("mamba"), "given a str"),
        (lambda: without_collapse(build(SequenceConfig(9, 8, ["gru"])), window=2), "the model has gru"),
        (lambda: retention(build(SequenceConfig(9, 8, ["gru"])), torch.zeros(1, 2).long()), "there are GRU"),
        (lambda: state_growth(build(SequenceConfig(9, 8, ["gru"])), torch.zeros(1, 2).long(), [3]), "from 1 to"),
    ],
)
def test_bad_input_is_named_in_one_line(call, words):
    with pytest.raises(InputError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


@torch.no_grad()
def test_growth_of_a_state_that_never_forgets():
    """Planted: decay next to 1 and always the same write, so that the norm is in proportion to the position."""
    lm = build(
        SequenceConfig(vocab_size=5, width=16, layers=[{"name": "mamba2", "heads": 2, "state_size": 4}])
    ).double()
    mixer = lm.layers[0].mixer
    mixer.A_log.fill_(-40.0)
    ids = torch.full((2, 80), 3)
    rows = state_growth(lm, ids, [20, 40, 80])
    assert [(row.layer, row.position) for row in rows] == [(0, 20), (0, 40), (0, 80)]
    late = rows[2].norm - rows[1].norm  # the convolution has filled long before
    torch.testing.assert_close(late, 2 * (rows[1].norm - rows[0].norm), rtol=1e-3, atol=0)
    torch.testing.assert_close(retention(lm, ids)[0], torch.ones(2, 2, 80, dtype=torch.float64))
    state = lm.run(ids[:, :40])[1][0].memory
    torch.testing.assert_close(rows[1].mean, state.mean((0, 2, 3)).float())
    torch.testing.assert_close(rows[1].largest, state.abs().amax((0, 2, 3)).float())
    mixer.A_log.fill_(5.0)  # forgets at once
    first, last = (row.norm for row in state_growth(lm, ids, [20, 80]))
    torch.testing.assert_close(first, last)
    assert retention(lm, ids)[0][..., -1].max() < 1e-6


def test_outlying_channels_are_counted():
    from seqmem.interp.state_growth import _measured
    from seqmem.mixers.mamba2 import Mamba2State

    memory = torch.ones(2, 2, 4, 8)
    memory[:, 0, :, 3] = 10.0
    row = _measured(0, 1, Mamba2State(memory, torch.zeros(2, 3, 900)), 3.0)
    assert row.outliers.tolist() == [1 / 8, 0.0]
    assert row.largest.tolist() == [10.0, 1.0]
    assert row.norm.tolist() == pytest.approx([(28 + 4 * 100) ** 0.5, 32**0.5])


@pytest.mark.parametrize("name", ["mamba", "gated_delta_net", "rg_lru", "gru", "attention"])
def test_growth_of_other_memories(name):
    lm = build(SequenceConfig(vocab_size=5, width=16, layers=[name]))
    row = state_growth(lm, torch.zeros(1, 6).long(), [6])[0]
    assert row.norm.isfinite().all()
    assert len(row.norm) == {"gated_delta_net": 2, "attention": 4, "mamba": 32}.get(name, 16)


@torch.no_grad()
def test_loss_by_position_is_the_cross_entropy_whatever_the_pieces(generator):
    lm = build(SequenceConfig(vocab_size=11, width=16, layers=["mamba2"])).eval()
    ids = torch.randint(11, (2, 30), generator=generator)
    expected = F.cross_entropy(lm.run(ids)[0][:, :-1].mT, ids[:, 1:], reduction="none")
    for piece in (7, 1024):
        torch.testing.assert_close(loss_by_position(lm, ids, piece=piece), expected)


def test_points_of_the_capacity_curves():
    assert forget_threshold({16: 0.5, 32: 0.01, 64: 0.2, 128: 0.04, 256: 0.0}) == 128
    assert forget_threshold({16: 0.5, 32: 0.3}) is None
    assert forget_threshold({16: float("nan"), 32: 0.0}) == 32
    assert passkey_capacity({64: 1.0, 128: 0.96, 256: 0.9, 512: 0.99}) == 128
    assert passkey_capacity({64: 0.5}) is None
