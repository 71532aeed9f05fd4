"""Vision transformers that draw before they answer: nothing, the last drawing, all drawings, or one step at a time.

Visual Scratchpads: Enabling Global Reasoning in Vision (2024), arXiv 2410.08165. An Image is Worth 16x16 Words (2020),
arXiv 2010.11929.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError, did_you_mean

#: "label": the label from the image. "single": that and the last frame at once. "multi": frame after frame, each from
#: all before it. "inductive": frame after frame, each from the one before alone, until the network says halt.
Scratchpad = Literal["label", "single", "multi", "inductive"]


class SketchReading(NamedTuple):
    """label: (batch, frame, classes) and halt: (batch, frame) logits; drawing: (batch, frame, rows, columns, colours),
    logits of another drawing."""

    label: Tensor
    halt: Tensor
    drawing: Tensor


class Answer(NamedTuple):
    """label: (batch,) int64. frames: (batch, frame, rows, columns) int64, what was drawn, the given image first. steps:
    (batch,) how many drawings each row took."""

    label: Tensor
    frames: Tensor
    steps: Tensor


class SketchViT(nn.Module):
    """A transformer over the patches of images whose places have one of ``colours``; it reads frames, (batch, frame,
    rows, columns) int64, and from each predicts a label, whether to halt, and another drawing.

    A patch is embedded linearly from its one-hot colours; positions and the number of the frame are learned. Each frame
    has one more token, from which the label and the halt flag are read. A frame sees itself and those before it. A
    linear map decodes every patch; to its logits one learned number is added for the colour that is there, so that
    what does not change need not be learned.

    shape: rows and columns; patch: of a patch, which divides them. frames: so many may be read at once. heads divides
    width. The layers are ``nn.TransformerEncoderLayer`` (pre-norm, gelu); what is drawn and where begin at the same
    scale, so that the first layer can tell both.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        colours: int,
        *,
        patch: tuple[int, int] = (8, 8),
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        frames: int = 1,
        classes: int = 2,
    ) -> None:
        super().__init__()
        if min(patch) < 1 or shape[0] % patch[0] or shape[1] % patch[1]:
            raise InputError(
                f"patch is {patch}, expected numbers that divide the {shape[0]} rows and {shape[1]} columns"
            )
        if width % heads:
            raise InputError(f"width is {width}, expected a multiple of heads ({heads})")
        self.shape, self.patch, self.colours, self.frames = shape, patch, colours, frames
        patches = (shape[0] // patch[0]) * (shape[1] // patch[1])
        places = patch[0] * patch[1] * colours
        self.embed = nn.Linear(places, width)
        self.position = nn.Parameter(0.5 * torch.randn(patches + 1, width))
        self.number = nn.Parameter(0.5 * torch.randn(frames, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.decode = nn.Linear(width, places)
        self.keep = nn.Parameter(torch.tensor(4.0))
        self.label = nn.Linear(width, classes)
        self.halt = nn.Linear(width, 1)
        with torch.no_grad():
            nn.init.normal_(self.embed.weight, std=0.3)
            self.embed.weight.view(width, -1, colours)[..., 0] = 0  # what is blank says nothing at first
            for weights in self.layers.parameters():  # the layers of TransformerEncoder begin as copies of one
                if weights.ndim == 2:
                    nn.init.xavier_uniform_(weights)

    def forward(self, frames: Tensor) -> SketchReading:
        """frames: (batch, frame, rows, columns) int64, colours; at most ``self.frames``."""
        if frames.ndim != 4 or frames.shape[1] > self.frames or tuple(frames.shape[2:]) != tuple(self.shape):
            raise InputError(
                f"frames are {tuple(frames.shape)}, expected (batch, 1 to {self.frames}, {self.shape[0]}, "
                f"{self.shape[1]})"
            )
        batch, count = frames.shape[:2]
        there = F.one_hot(patches_of(frames, self.patch), self.colours).flatten(3).float()
        # (batch, frame, patch, place * colour)
        x = F.pad(self.embed(there), (0, 0, 1, 0)) + self.position + self.number[:count, None]
        length = x.shape[2]
        seen = None
        if count > 1:
            frame = torch.arange(count, device=frames.device).repeat_interleave(length)
            seen = frame[None] > frame[:, None]  # True is hidden: later frames
        x = self.layers(x.flatten(1, 2), mask=seen).view(batch, count, length, -1)
        drawing = self._image(self.decode(x[:, :, 1:]) + self.keep * there)
        return SketchReading(self.label(x[:, :, 0]), self.halt(x[:, :, 0])[..., 0], drawing)

    def _image(self, x: Tensor) -> Tensor:
        """(batch, frame, patch, place * colour) to (batch, frame, rows, columns, colour)."""
        (p, q), (r, c), (b, f) = self.patch, self.shape, x.shape[:2]
        x = x.view(b, f, r // p, c // q, p, q, self.colours).transpose(3, 4)
        return x.reshape(b, f, r, c, self.colours)


def patches_of(images: Tensor, patch: tuple[int, int]) -> Tensor:
    """(..., rows, columns) to (..., patch, place), row by row; ``patch`` divides rows and columns."""
    p, q = patch
    return images.unfold(-2, p, p).unfold(-2, q, q).flatten(-2).flatten(-3, -2)


def scratchpad_loss(
    network: SketchViT,
    frames: Tensor,
    last: Tensor,
    label: Tensor,
    scratchpad: Scratchpad,
    generator: torch.Generator,
    *,
    weight: float = 20.0,
) -> Tensor:
    """What is trained: cross-entropy of the labels, of the halt flags, and ``weight`` times that of the drawings, a
    mean over places, of which few change.

    frames: (batch, frame + 1, rows, columns) int64, the image and all drawings; after a row's ``last``, (batch,), they
    repeat it. "inductive" draws one frame of each row from ``generator`` and asks for the next, and at the last one for
    the halt and the label. "multi" reads as many frames as the network takes, and asks for the label from the last.
    """
    _known(scratchpad)
    rows = torch.arange(len(frames))
    if scratchpad in ("label", "single"):
        read = network(frames[:, :1])
        loss = F.cross_entropy(read.label[:, 0], label)
        return loss if scratchpad == "label" else loss + weight * _drawn(read.drawing[:, 0], frames[rows, last])
    if scratchpad == "multi":
        shown = frames[:, torch.arange(network.frames + 1).clamp(max=frames.shape[1] - 1)]
        read = network(shown[:, :-1])
        return F.cross_entropy(read.label[:, -1], label) + weight * _drawn(read.drawing, shown[:, 1:])
    number = (torch.rand(len(frames), generator=generator) * (last + 1)).long()
    read = network(frames[rows, number][:, None])
    done = number == last
    halt = F.binary_cross_entropy_with_logits(read.halt[:, 0], done.float())
    drawn = _drawn(read.drawing[:, 0], frames[rows, torch.minimum(number + 1, last)])
    labels = F.cross_entropy(read.label[:, 0], label, reduction="none")
    return (labels * done).sum() / done.sum().clamp(min=1) + halt + weight * drawn


@torch.no_grad()
def answer(network: SketchViT, image: Tensor, scratchpad: Scratchpad, *, most: int = 30) -> Answer:
    """What the network says about images, (batch, rows, columns) int64, with the drawings that it makes on the way.

    Each drawing is put down in the likeliest colours before it is read again. "inductive" goes on until the halt flag,
    row by row, and for ``most`` frames; the label is then that of the last frame.
    """
    _known(scratchpad)
    frames = [image]
    taken = torch.zeros(len(image), dtype=torch.int64, device=image.device)
    if scratchpad in ("label", "single"):
        read = network(image[:, None])
        if scratchpad == "single":
            frames.append(read.drawing[:, 0].argmax(-1))
            taken += 1
        return Answer(read.label[:, 0].argmax(-1), torch.stack(frames, 1), taken)
    if scratchpad == "multi":
        for _ in range(network.frames):
            read = network(torch.stack(frames, 1))
            frames.append(read.drawing[:, -1].argmax(-1))
        return Answer(read.label[:, -1].argmax(-1), torch.stack(frames, 1), taken + network.frames)
    now, label = image, torch.zeros_like(taken)
    rows = torch.arange(len(image), device=image.device)  # that have not halted
    for step in range(most + 1):
        read = network(now[rows][:, None])
        label[rows] = read.label[:, 0].argmax(-1)
        goes_on = read.halt[:, 0] < 0
        if step == most or not goes_on.any():
            break
        rows = rows[goes_on]
        now = now.index_copy(0, rows, read.drawing[goes_on, 0].argmax(-1))
        taken[rows] += 1
        frames.append(now)
    return Answer(label, torch.stack(frames, 1), taken)


def _drawn(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), wanted.flatten())


def _known(scratchpad: str) -> None:
    known = get_args(Scratchpad)
    if scratchpad not in known:
        raise InputError(
            f"unknown scratchpad '{scratchpad}'.{did_you_mean(scratchpad, known)} Known: {', '.join(known)}"
        )
