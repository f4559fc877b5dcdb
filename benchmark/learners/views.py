"""Random views of a whole batch of images at once, on the device where the batch lives.

A `ViewPolicy` says what may happen to an image, `Draws` hold what chance decided for each, and `apply` is a
pure function of both. The operations are those of SimCLR (Chen et al., ICML 2020, arXiv:2002.05709) and of
CIFAR training. Departures from torchvision: colour operations keep one order, crop boxes are not rounded to
pixels, hue is rotated in YIQ.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[float, float]
LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue in grey
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
NUMBERS = dict.fromkeys(("flip", "shift", "jitter_probability", "greyscale", "blur_probability"), 1.0)
NUMBERS |= dict.fromkeys(("crop_padding", "brightness", "contrast", "saturation", "noise"), math.inf)
NUMBERS |= {"rotation": math.pi, "hue": 0.5}  # field -> its largest value; the smallest is 0
RANGES = {"crop_scale": 1.0, "crop_ratio": math.inf, "zoom": math.inf, "blur_sigma": math.inf}


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """What chance decided for `count` images, one row each; None for what the policy never does.

    `draws[indices]` (int64 [n]) are the draws of these rows, so that views can be drawn once for every
    example of a dataset and looked up by example, whoever else is in the batch.
    """

    count: int
    offset: Tensor | None = None  # [count, 2] int64: rows and columns by which the padded crop moves
    box: Tensor | None = None  # [count, 4]: top, left, height, width of the resized crop, in pixels
    flip: Tensor | None = None  # [count] bool
    angle: Tensor | None = None  # [count]: clockwise, in radians
    zoom: Tensor | None = None  # [count]: above 1 enlarges
    shift: Tensor | None = None  # [count, 2]: down and to the right, as fractions of the side
    brightness: Tensor | None = None  # [count]: factor, 1 changes nothing; so for the next two
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    hue: Tensor | None = None  # [count]: in turns
    grey: Tensor | None = None  # [count] bool
    sigma: Tensor | None = None  # [count]: standard deviation of the blur in pixels, 0 for none
    noise: Tensor | None = None  # [count, C, H, W]: what is added, in units of the pixel range

    def __getitem__(self, indices: Tensor) -> "Draws":
        return self._map(len(indices), lambda value: value[indices.to(value.device)])

    def to(self, device: torch.device) -> "Draws":
        return self._map(self.count, lambda value: value.to(device))

    def _map(self, count: int, change: Callable[[Tensor], Tensor]) -> "Draws":
        drawn = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Draws(count=count, **{name: change(value) for name, value in drawn.items()})


@dataclass(frozen=True, kw_only=True)
class ViewPolicy:
    """What may happen to an image; every default means "never". A field outside its range: ValueError.

    Geometry, in the order of the fields, is composed into one map from view to image and sampled once
    (bilinear; black outside the image, but crops and flips alone stay inside and repeat the border). Then
    come brightness, contrast, hue, saturation (greyscale is saturation 0, in its place), blur and noise.
    Colours are clipped to [0, 1] after each operation; noise is added last and not clipped.
    """

    crop_padding: int = 0  # pixels of black added to each side before a crop of the image's size
    crop_scale: Pair | None = None  # area of a crop resized to the image's size, a fraction
    crop_ratio: Pair = (3 / 4, 4 / 3)  # its width / height
    flip: float = 0.0  # probability; left to right
    rotation: float = 0.0  # largest angle in either direction, in radians
    zoom: Pair | None = None  # above 1 enlarges
    shift: float = 0.0  # largest shift along either axis, as a fraction of the side
    jitter_probability: float = 1.0  # that the next four change anything
    brightness: float = 0.0  # strength s: the factor is uniform in [max(0, 1 - s), 1 + s]
    contrast: float = 0.0  # likewise, against the image's mean grey
    saturation: float = 0.0  # likewise, against the grey image; like hue and greyscale, not with one channel
    hue: float = 0.0  # largest turn in either direction, in turns
    greyscale: float = 0.0  # probability
    blur_probability: float = 0.0
    blur_sigma: Pair = (0.1, 2.0)  # standard deviation of the Gaussian, in pixels
    noise: float = 0.0  # standard deviation, in units of the pixel range

    def __post_init__(self) -> None:
        for name, most in NUMBERS.items():
            value, kind = getattr(self, name), int if name == "crop_padding" else (int, float)
            if not (isinstance(value, kind) and 0 <= value <= most and math.isfinite(value)):
                whole = " and whole" if kind is int else ""
                raise ValueError(f"{name} must be finite{whole}, from 0 to {most:.4g}, but is {value!r}.")
        for name, most in RANGES.items():
            pair = getattr(self, name)
            if pair is None and name in ("crop_scale", "zoom"):
                continue
            two = isinstance(pair, (tuple, list)) and [isinstance(end, (int, float)) for end in pair]
            if not (two == [True, True] and 0 < pair[0] <= pair[1] <= most and math.isfinite(pair[1])):
                rule = f"two finite numbers, 0 < low <= high <= {most:g}"
                raise ValueError(f"{name} must be {rule}, but is {pair!r}.")
            object.__setattr__(self, name, tuple(pair))  # JSON has lists

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Fresh views of `images` [N, C, H, W]: draw, then apply."""
        return self.apply(images, self.draw(len(images), images.shape[1:], generator))

    def draw(self, count: int, image_shape: Sequence[int], generator: torch.Generator) -> Draws:
        """Decide what happens to `count` images of shape (C, H, W).

        The draws (float32 unless said) live on the generator's device. A policy that never does anything
        leaves the generator untouched. Noise takes as much memory as the images.
        """
        options: dict[str, Any] = {"generator": generator, "device": generator.device}

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(count, *shape, **options) * (high - low) + low

        def chance(probability: float) -> Tensor | None:
            return torch.rand(count, **options) < probability if probability else None

        def jitter(low: float, high: float, neutral: float) -> Tensor | None:
            if jittered is None or low == high:
                return None
            return torch.where(jittered, uniform(low, high), neutral)

        strengths = (self.brightness, self.contrast, self.saturation)
        jittered = chance(self.jitter_probability) if any((*strengths, self.hue)) else None
        factors = [jitter(max(0.0, 1 - strength), 1 + strength, 1.0) for strength in strengths]
        blurred, padding = chance(self.blur_probability), self.crop_padding
        return Draws(
            count=count,
            offset=torch.randint(-padding, padding + 1, (count, 2), **options) if padding else None,
            box=_boxes(uniform, self.crop_scale, self.crop_ratio, image_shape) if self.crop_scale else None,
            flip=chance(self.flip),
            angle=uniform(-self.rotation, self.rotation) if self.rotation else None,
            zoom=uniform(*self.zoom) if self.zoom else None,
            shift=uniform(-self.shift, self.shift, 2) if self.shift else None,
            **dict(zip(("brightness", "contrast", "saturation"), factors, strict=True)),
            hue=jitter(-self.hue, self.hue, 0.0),
            grey=chance(self.greyscale),
            sigma=uniform(*self.blur_sigma) * blurred if blurred is not None else None,
            noise=torch.randn(count, *image_shape, **options) * self.noise if self.noise else None,
        )

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Make the views that `draws` describe; differentiable, also twice, in the images.

        Args:
            images: [N, C, H, W] floating point in [0, 1], C = 1 or 3.
            draws: N rows, drawn by this policy for images of this shape.

        Returns:
            [N, C, H, W] of the same dtype and device; `images` itself if nothing happens.

        Raises:
            ValueError: images of another kind, or another number of them than of draws.
        """
        if not images.is_floating_point() or images.dim() != 4 or images.shape[1] not in (1, 3):
            kind = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images must be floating point in [0, 1], [N, 1 or 3, H, W], but are {kind}.")
        if len(images) != draws.count:
            raise ValueError(f"draws must have one row per image ({len(images)}), but have {draws.count}.")
        draws = draws.to(images.device)
        with torch.autocast(images.device.type, enabled=False):  # pixels keep their precision
            moved = _move(images, draws, self.crop_padding)
            return _soften(_colour(moved, draws, moved is not images), draws)


def _boxes(uniform: Callable[..., Tensor], scale: Pair, ratio: Pair, shape: Sequence[int]) -> Tensor:
    """Crop boxes [count, 4]: top, left, height, width.

    Where torchvision draws again (ten times) if a box does not fit into the image, the ratio is clipped
    until it does. So the area is exactly uniform in `scale`; torchvision's is biased to small ones.
    """
    height, width = shape[1:]
    area = uniform(*scale) * (height * width)
    wanted = uniform(math.log(ratio[0]), math.log(ratio[1])).exp()
    fitting = torch.minimum(torch.maximum(wanted, area / height**2), width**2 / area)
    tall, wide = (area / fitting).sqrt().clamp(max=height), (area * fitting).sqrt().clamp(max=width)
    return torch.stack([uniform(0, 1) * (height - tall), uniform(0, 1) * (width - wide), tall, wide], dim=1)


def _move(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """All geometry: nothing, copies of pixels (half the time of sampling) or one bilinear sampling."""
    black = any(value is not None for value in (draws.offset, draws.angle, draws.zoom, draws.shift))
    if draws.box is None and draws.angle is None and draws.zoom is None and draws.shift is None:
        return images if draws.flip is None and draws.offset is None else _pick(images, draws, padding)
    linear, move = (value.flip(1).to(images.dtype) for value in _affine(images, draws))  # rows for x, y
    y, x = (torch.arange(side).to(linear).mul(2).add(1).div(side).sub(1) for side in images.shape[2:])
    rows, columns = linear[:, :, :1] * y + move[:, :, None], linear[:, :, 1:] * x  # [N, 2, H], [N, 2, W]
    grid = (rows[:, :, :, None] + columns[:, :, None, :]).movedim(1, -1)
    views: Tensor = _Sample.apply(images, grid, 0 if black else 1, False)
    return views


def _pick(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """Padded crop and flip, pixel by pixel."""
    count, channels, height, width = images.shape
    y, x = (torch.arange(side, device=images.device).expand(count, -1) for side in (height, width))
    if draws.flip is not None:
        x = torch.where(draws.flip[:, None], x.flip(1), x)
    if draws.offset is not None:
        images = functional.pad(images, [padding] * 4)
        y, x = y + draws.offset[:, :1] + padding, x + draws.offset[:, 1:] + padding
    places = (y[:, :, None] * images.shape[3] + x[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, places).view(count, channels, height, width)


def _affine(images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Where a place (y, x) of the view lies in the image: linear [N, 2, 2] @ place + move [N, 2].

    In pixels from the centre: image = centre of crop + size of crop / side * flip * turn(view - shift) / zoom.
    Returned for axes that go from -1 to 1.
    """
    sides = torch.tensor(images.shape[2:], dtype=torch.float32, device=images.device)
    crop, centre = sides.expand(len(images), 2), torch.zeros(len(images), 2, device=images.device)
    if draws.offset is not None:
        centre = centre + draws.offset
    if draws.box is not None:
        crop = draws.box[:, 2:]
        centre = centre + draws.box[:, :2] + (crop - sides) / 2
    linear = torch.diag_embed(crop / sides)
    if draws.flip is not None:
        linear = linear * torch.where(draws.flip[:, None, None], sides.new_tensor([1, -1]), 1)
    if draws.angle is not None:
        cos, sin = draws.angle.cos(), draws.angle.sin()
        linear = linear @ torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    if draws.zoom is not None:
        linear = linear / draws.zoom[:, None, None]
    if draws.shift is not None:
        centre = centre - (linear @ (draws.shift * sides)[:, :, None]).squeeze(2)
    return linear * sides / sides[:, None], centre * 2 / sides


class _Sample(torch.autograd.Function):
    """Bilinear grid_sample, or its adjoint: each is the backward of the other.

    Torch's own can not be differentiated twice, which methods that penalise a gradient need. Views have
    the size of images, so the adjoint needs to know nothing else. Border 0: black, 1: repeated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, grid: Tensor, border: int, adjoint: bool) -> Tensor:
        result: Tensor
        if adjoint:
            mask = [True, False]  # the gradient of the images, not of the grid
            result, _ = torch.ops.aten.grid_sampler_2d_backward(images, images, grid, 0, border, False, mask)
        else:
            result = torch.ops.aten.grid_sampler_2d(images, grid, 0, border, False)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.border, ctx.adjoint = inputs[2:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sample.apply(gradients[0], grid, ctx.border, not ctx.adjoint), None, None, None


def _colour(images: Tensor, draws: Draws, ours: bool) -> Tensor:
    """Brightness, contrast, hue, then saturation or greyscale.

    They write into `images` if these are `ours`, else into a copy: of a large batch every new tensor costs
    more in page faults than in arithmetic.
    """

    def per_image(factor: Tensor) -> Tensor:
        return factor.to(images.dtype)[:, None, None, None]

    saturation = draws.saturation
    if draws.grey is not None:
        saturation = torch.where(draws.grey, 0.0, 1.0 if saturation is None else saturation)
    if draws.brightness is draws.contrast is draws.hue is saturation is None:
        return images
    images = images if ours else images.clone()
    if draws.brightness is not None:
        images.mul_(per_image(draws.brightness)).clamp_(0, 1)
    if draws.contrast is not None:
        mean, factor = _grey(images.mean(dim=(2, 3), keepdim=True)), per_image(draws.contrast)
        images.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 1)
    if draws.hue is not None and images.shape[1] == 3:
        turned = _hue_matrix(draws.hue).to(images.dtype) @ images.flatten(2)
        images = turned.clamp_(0, 1).view(images.shape)
    if saturation is not None and images.shape[1] == 3:
        images.lerp_(_grey(images), per_image(1 - saturation)).clamp_(0, 1)
    return images


def _grey(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 1, H, W]."""
    if images.shape[1] == 1:
        return images
    grey = images[:, :1] * LUMA[0]
    return grey.add_(images[:, 1:2], alpha=LUMA[1]).add_(images[:, 2:], alpha=LUMA[2])


def _hue_matrix(turns: Tensor) -> Tensor:
    """Matrices [N, 3, 3] on RGB that turn the (I, Q) plane of YIQ: luma and greys stay."""
    to_yiq = torch.tensor(YIQ, dtype=torch.float64)
    quarter = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    luma, turned = to_yiq[0].expand(3, 3), torch.linalg.inv(to_yiq) @ quarter @ to_yiq
    colour, turned, luma = (torch.eye(3) - luma).to(turns), turned.to(turns), luma.to(turns)
    angle = (2 * math.pi * turns)[:, None, None]
    return torch.addcmul(luma + angle.cos() * colour, angle.sin(), turned)


def _soften(images: Tensor, draws: Draws) -> Tensor:
    """Blur, then noise."""
    if draws.sigma is not None:
        down, across = (_blur_matrix(draws.sigma, side).to(images.dtype) for side in images.shape[2:])
        images = torch.einsum("nij,ncjk,nlk->ncil", down, images, across)
    return images if draws.noise is None else images + draws.noise.to(images.dtype)


def _blur_matrix(sigma: Tensor, side: int) -> Tensor:
    """Gaussian blur of one axis as matrices [N, side, side]; the border reflects. Sigma 0: the identity."""
    source = torch.arange(side, device=sigma.device)
    place, never = source[:, None], 2 * side - 1
    # a source also counts where its mirror images in the two borders are; a border has none in itself
    low = torch.where(source > 0, place + source, never)
    high = torch.where(source < side - 1, 2 * (side - 1) - place - source, never)
    distances = torch.stack([(place - source).abs(), low, high]).view(1, -1).expand(len(sigma), -1)
    bell = torch.exp(-0.5 * (torch.arange(never, device=sigma.device) / sigma.clamp(min=1e-3)[:, None]) ** 2)
    weights = functional.pad(bell, (0, 1)).gather(1, distances).view(-1, 3, side, side).sum(dim=1)
    return weights / weights.sum(dim=2, keepdim=True)
