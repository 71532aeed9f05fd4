"""The drawing networks: what sees what, and the loop with a network that knows the answer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seqmem.errors import InputError
from seqmem.models import SketchViT, answer, scratchpad_loss
from seqmem.models.sketch_vit import SketchReading, patches_of
from seqmem.tasks.sketches import SKETCHES, Cycles, EdgeLists, get_sketch


def small(shape: tuple[int, int] = (8, 12), colours: int = 3, **options: object) -> SketchViT:
    torch.manual_seed(0)
    return SketchViT(shape, colours, **{"patch": (4, 2), "width": 16, "depth": 2, "heads": 2, **options})  # type: ignore[arg-type]


class Knows(SketchViT):
    """Draws the next frame of whatever it is shown, and halts when there is none."""

    def __init__(self, frames: torch.Tensor, last: torch.Tensor, label: torch.Tensor) -> None:
        super().__init__(tuple(frames.shape[2:]), int(frames.max()) + 1, patch=(1, 1), width=4, depth=1, heads=1)  # type: ignore[arg-type]
        self.known, self.last, self.answer = frames, last, label

    def forward(self, shown: torch.Tensor) -> SketchReading:
        same = (shown[:, -1, None, None] == self.known).flatten(3).all(3)  # (shown, row, frame)
        row, frame = same.flatten(1).long().argmax(1) // same.shape[2], same.flatten(1).long().argmax(1) % same.shape[2]
        assert same.flatten(1).any(1).all()
        after = self.known[row, (frame + 1).clamp(max=self.known.shape[1] - 1)]
        halt = torch.where(frame == self.last[row], 30.0, -30.0)
        label = 30.0 * F.one_hot(self.answer[row], 2).float()
        drawn = 30.0 * F.one_hot(after, self.colours).float()
        return SketchReading(label[:, None], halt[:, None], drawn[:, None])


@pytest.mark.parametrize("name", SKETCHES)
def test_the_loop_stops_where_it_should(generator: torch.Generator, name: str) -> None:
    sketch = get_sketch(name).sample(12, generator)
    count = int(sketch.last.max())
    knows = Knows(sketch.frames(count), sketch.last, sketch.label)
    said = answer(knows, sketch.first, "inductive", most=count + 3)
    assert torch.equal(said.label, sketch.label)
    assert torch.equal(said.steps, sketch.last)
    assert torch.equal(said.frames, sketch.frames(count))
    cut = answer(knows, sketch.first, "inductive", most=1)
    assert torch.equal(cut.steps, sketch.last.clamp(max=1))
    loss = scratchpad_loss(knows, sketch.frames(count), sketch.last, sketch.label, "inductive", generator)
    assert float(loss) < 1e-6


def test_a_patch_comes_back_where_it_was(generator: torch.Generator) -> None:
    network = small()
    x = torch.randint(3, (2, 3, 8, 12), generator=generator)
    patches = patches_of(x, (4, 2))
    assert patches.shape == (2, 3, 12, 8)
    assert torch.equal(patches[1, 2, 7].view(4, 2), x[1, 2, 4:8, 2:4])  # the second row of six patches
    colours = F.one_hot(patches, 3).flatten(3)
    assert torch.equal(network._image(colours), F.one_hot(x, 3))


@torch.no_grad()
def test_frames_see_themselves_and_those_before(generator: torch.Generator) -> None:
    network = small(frames=3).eval()
    frames = torch.randint(3, (2, 3, 8, 12), generator=generator)
    other = frames.clone()
    other[:, 1] = torch.randint(3, (2, 8, 12), generator=generator)
    for a, b in zip(network(frames), network(other), strict=True):
        torch.testing.assert_close(a[:, 0], b[:, 0])
        assert ((a - b)[:, 1:].reshape(2, 2, -1).abs().amax(2) > 1e-5).all()
    alone = network(frames[:, :1])
    torch.testing.assert_close(alone.label, network(frames).label[:, :1])


@torch.no_grad()
def test_what_is_there_is_kept_at_the_beginning(generator: torch.Generator) -> None:
    """A new network mostly draws what it sees."""
    frames = torch.randint(3, (4, 1, 8, 12), generator=generator)
    assert (small()(frames).drawing.argmax(-1) == frames).float().mean() > 0.9


@pytest.mark.parametrize("scratchpad", ["label", "single", "multi", "inductive"])
def test_every_kind_learns_something(generator: torch.Generator, scratchpad: str) -> None:
    """Its own loss falls on one batch; what is answered has the declared shape, from the image alone."""
    task = EdgeLists(nodes=6, names=6, room=6)
    sketch = task.sample(16, generator)
    frames = sketch.frames(3)
    network = small(task.shape, task.colours, patch=(1, 2), frames=3 if scratchpad == "multi" else 1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    seen = []
    for _ in range(25):
        source = torch.Generator().manual_seed(1)
        loss = scratchpad_loss(network, frames, sketch.last, sketch.label, scratchpad, source)  # type: ignore[arg-type]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < (1 if scratchpad == "label" else 0.7) * seen[0]  # labels alone are hard, which is the point
    said = answer(network.eval(), sketch.first, scratchpad, most=4)  # type: ignore[arg-type]
    count = {"label": 0, "single": 1, "multi": 3}.get(scratchpad, int(said.steps.max()))
    assert said.frames.shape == (16, count + 1, 6, 2)
    assert torch.equal(said.frames[:, 0], sketch.first)
    assert said.label.shape == said.steps.shape == (16,)


@torch.no_grad()
def test_multi_is_the_frames_one_by_one(generator: torch.Generator) -> None:
    network = small(frames=3).eval()
    image = torch.randint(3, (2, 8, 12), generator=generator)
    said = answer(network, image, "multi")
    again = network(said.frames[:, :3])  # causal: all at once from its own drawings
    assert torch.equal(again.drawing.argmax(-1), said.frames[:, 1:])
    assert torch.equal(again.label[:, -1].argmax(-1), said.label)


def test_bad_input_says_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="expected numbers that divide the 9 rows"):
        SketchViT((9, 8), 3)
    with pytest.raises(InputError, match="expected a multiple of heads"):
        SketchViT((8, 8), 3, width=30)
    with pytest.raises(InputError, match=r"expected \(batch, 1 to 1, 8, 12\)"):
        small()(torch.zeros(1, 2, 8, 12, dtype=torch.int64))
    sketch = Cycles().sample(2, generator)
    with pytest.raises(InputError, match="Did you mean 'multi'"):
        answer(small((48, 48), 5, patch=(8, 8)), sketch.first, "mutli")  # type: ignore[arg-type]
