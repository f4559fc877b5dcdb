"""Views against torchvision and kornia, and the promises of `ViewPolicy`: reproducible, per example, smooth.

"Interior" pixels are those whose four neighbours lie inside the crop box: torchvision cuts the box out and
repeats its border, the policy sees the image around the box.
"""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision_functional

from benchmark.learners.views import Draws, ViewPolicy

SIMCLR = ViewPolicy(
    crop_scale=(0.2, 1),
    flip=0.5,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    greyscale=0.2,
)
DIGITS = ViewPolicy(rotation=0.15, shift=0.08, zoom=(0.9, 1.1), noise=0.1)
CIFAR = ViewPolicy(crop_padding=3, flip=0.5)
EVERYTHING = dataclasses.replace(
    SIMCLR,
    crop_padding=2,
    rotation=0.3,
    shift=0.1,
    zoom=(0.8, 1.2),
    hue=0.1,
    blur_probability=0.5,
    noise=0.05,
)
COLOUR = ViewPolicy(brightness=0.2, contrast=0.3, hue=0.05, greyscale=0.2)
POLICIES = {"simclr": SIMCLR, "colour": COLOUR, "digits": DIGITS, "cifar": CIFAR, "everything": EVERYTHING}
NOTHING = ViewPolicy()
BILINEAR = InterpolationMode.BILINEAR


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3, height: int = 12, width: int = 10, seed: int = 1) -> Tensor:
    return torch.rand(count, channels, height, width, generator=seeded(seed))


def worst(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


# Geometry


@pytest.mark.parametrize("box", [(0, 0, 12, 10), (2, 3, 6, 5), (1, 0, 11, 4), (5, 4, 7, 6), (3, 2, 4, 8)])
def test_resized_crop_equals_torchvision_in_the_interior(box: tuple[int, int, int, int]) -> None:
    images = pictures(1)
    top, left, tall, wide = box
    expected = torchvision_functional.resized_crop(
        images, top, left, tall, wide, [12, 10], interpolation=BILINEAR, antialias=False
    )
    actual = NOTHING.apply(images, Draws(count=1, box=torch.tensor([box]).float()))
    y, x = ((torch.arange(side) + 0.5) * part / side - 0.5 for side, part in ((12, tall), (10, wide)))
    inside = ((y >= 0) & (y <= tall - 1))[:, None] & ((x >= 0) & (x <= wide - 1))
    assert inside.sum() >= 12
    assert worst(actual[..., inside], expected[..., inside]) < 1e-5


def test_crop_alone_repeats_the_border_of_the_image() -> None:
    corner = Draws(count=1, box=torch.tensor([[0.0, 0.0, 4.0, 4.0]]))
    assert worst(NOTHING.apply(torch.ones(1, 3, 8, 8), corner), torch.ones(1, 3, 8, 8)) < 1e-6


def test_flip_equals_torchvision_exactly() -> None:
    images = pictures(2)
    actual = NOTHING.apply(images, Draws(count=2, flip=torch.tensor([True, False])))
    assert torch.equal(actual[0], torchvision_functional.horizontal_flip(images[0]))
    assert torch.equal(actual[1], images[1])


def test_crop_of_a_flipped_image_is_the_flipped_crop() -> None:
    images = pictures(1)
    box = torch.tensor([[1.0, 2.0, 7.0, 5.0]])
    plain = NOTHING.apply(images, Draws(count=1, box=box))
    flipped = NOTHING.apply(images, Draws(count=1, box=box, flip=torch.tensor([True])))
    assert worst(flipped, plain.flip(-1)) < 1e-5


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -3), (-2, 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_padded_crop_equals_torchvision_exactly(down: int, right: int, flip: bool) -> None:
    images = pictures(1)
    padded = torchvision_functional.pad(images, [3])
    expected = torchvision_functional.crop(padded, 3 + down, 3 + right, 12, 10)
    expected = torchvision_functional.horizontal_flip(expected) if flip else expected
    draws = Draws(count=1, offset=torch.tensor([[down, right]]), flip=torch.tensor([flip]))
    assert torch.equal(CIFAR.apply(images, draws), expected)
    sampled = CIFAR.apply(images, dataclasses.replace(draws, zoom=torch.ones(1)))
    assert worst(sampled, expected) < 1e-5


@pytest.mark.parametrize(
    ("angle", "zoom", "down", "right"),
    [(0.3, 1.0, 0, 0), (-1.2, 1.0, 0, 0), (0.2, 0.8, 2, -1), (0.0, 1.3, 3, 2)],
)
def test_rotation_zoom_and_shift_equal_torchvision(angle: float, zoom: float, down: int, right: int) -> None:
    images = pictures(1)
    expected = torchvision_functional.affine(
        images, math.degrees(angle), [right, down], zoom, [0.0, 0.0], interpolation=BILINEAR, fill=None
    )
    draws = Draws(
        count=1,
        angle=torch.tensor([angle]),
        zoom=torch.tensor([zoom]),
        shift=torch.tensor([[down / 12, right / 10]]),
    )
    assert worst(NOTHING.apply(images, draws), expected) < 1e-5
    if zoom == 1:
        rotated = torchvision_functional.rotate(images, -math.degrees(angle), interpolation=BILINEAR)
        assert worst(NOTHING.apply(images, draws), rotated) < 1e-5


def test_geometry_of_a_batch_equals_kornia() -> None:
    kornia = pytest.importorskip("kornia", reason="kornia, a development dependency, is the second reference")
    images = pictures(6)
    draws = ViewPolicy(rotation=1.0, zoom=(0.7, 1.4), shift=0.2).draw(6, (3, 12, 10), seeded())
    centre = torch.tensor([[4.5, 5.5]]).expand(6, 2)
    shift = torch.stack([draws.shift[:, 1] * 10, draws.shift[:, 0] * 12], 1)
    zoom = draws.zoom[:, None].expand(6, 2)
    matrix = kornia.geometry.get_affine_matrix2d(shift, centre, zoom, draws.angle.rad2deg())[:, :2]
    expected = kornia.geometry.warp_affine(images, matrix, (12, 10), align_corners=True)
    assert worst(NOTHING.apply(images, draws), expected) < 1e-4


def test_composed_geometry_equals_its_parts_in_order_on_a_smooth_image() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    images = (0.3 * x + 0.6 * y).expand(1, 1, 64, 64)
    turn = Draws(count=1, angle=torch.tensor([0.2]), zoom=torch.tensor([1.1]), shift=torch.tensor([[0.05, 0.1]]))
    crop = Draws(count=1, box=torch.tensor([[10.0, 6.0, 40.0, 48.0]]), flip=torch.tensor([True]))
    in_parts = NOTHING.apply(NOTHING.apply(images, crop), turn)
    at_once = NOTHING.apply(images, dataclasses.replace(turn, box=crop.box, flip=crop.flip))
    assert worst(in_parts[..., 16:48, 16:48], at_once[..., 16:48, 16:48]) < 1e-5


# Colour, blur, noise


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_jitter_equals_torchvision(name: str, factor: float, channels: int) -> None:
    images = pictures(1, channels)
    expected = getattr(torchvision_functional, f"adjust_{name}")(images, factor)
    settings: dict[str, Any] = {name: torch.tensor([factor])}
    assert worst(NOTHING.apply(images, Draws(count=1, **settings)), expected) < 1e-6


def test_greyscale_equals_torchvision() -> None:
    images = pictures(2)
    actual = NOTHING.apply(images, Draws(count=2, grey=torch.tensor([True, False])))
    assert worst(actual[0], torchvision_functional.rgb_to_grayscale(images[0], num_output_channels=3)) < 1e-6
    assert torch.equal(actual[1], images[1])


def test_colour_chain_equals_torchvision_in_the_stated_order() -> None:
    images = pictures()
    draws = dataclasses.replace(SIMCLR, crop_scale=None, flip=0.0, greyscale=0.0).draw(6, (3, 12, 10), seeded())
    expected = images.clone()
    for row in range(6):
        for name in ("brightness", "contrast", "saturation"):
            adjust = getattr(torchvision_functional, f"adjust_{name}")
            expected[row] = adjust(expected[row], getattr(draws, name)[row].item())
    assert worst(NOTHING.apply(images, draws), expected) < 1e-6


def test_contrast_saturation_and_blur_of_a_batch_equal_kornia() -> None:
    kornia = pytest.importorskip("kornia", reason="kornia, a development dependency, is the second reference")
    images = pictures(4)
    factor, sigma = torch.tensor([0.3, 0.8, 1.2, 1.7]), torch.tensor([0.4, 0.7, 1.0, 1.3])
    contrast = kornia.enhance.adjust_contrast_with_mean_subtraction(images, factor)
    saturation = kornia.enhance.adjust_saturation_with_gray_subtraction(images, factor)
    blur = kornia.filters.gaussian_blur2d(images, (17, 17), sigma[:, None].expand(4, 2), border_type="reflect")
    # kornia's grey weighs .299, .587, .114 and torchvision's .2989: the tolerance of both colours
    assert worst(NOTHING.apply(images, Draws(count=4, contrast=factor)), contrast) < 5e-4
    assert worst(NOTHING.apply(images, Draws(count=4, saturation=factor)), saturation) < 5e-4
    assert worst(NOTHING.apply(images, Draws(count=4, sigma=sigma)), blur) < 1e-5


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_blur_equals_torchvision(sigma: float) -> None:
    images = pictures(1)
    expected = torchvision_functional.gaussian_blur(images, [17, 17], [sigma, sigma])
    assert worst(NOTHING.apply(images, Draws(count=1, sigma=torch.tensor([sigma]))), expected) < 1e-5


def test_blur_of_width_zero_changes_nothing() -> None:
    images = pictures(2)
    blurred = NOTHING.apply(images, Draws(count=2, sigma=torch.tensor([0.0, 1.0])))
    assert torch.equal(blurred[0], images[0])
    assert not torch.equal(blurred[1], images[1])


def test_hue_keeps_luma_and_greys_and_can_be_undone() -> None:
    images = pictures() * 0.2 + 0.4  # far from the border of the colour cube: nothing is clipped
    turned = NOTHING.apply(images, Draws(count=6, hue=torch.full((6,), 0.2)))
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert worst(turned, images) > 0.02
    assert worst((turned * luma).sum(1), (images * luma).sum(1)) < 1e-5
    assert worst(NOTHING.apply(turned, Draws(count=6, hue=torch.full((6,), -0.2))), images) < 1e-5
    greys = images[:, :1].expand(-1, 3, -1, -1)
    assert worst(NOTHING.apply(greys, Draws(count=6, hue=torch.full((6,), 0.5))), greys) < 1e-5


def test_hue_turns_the_way_torchvision_turns() -> None:
    images = pictures() * 0.4 + 0.3
    expected = torchvision_functional.adjust_hue(images, 0.1)
    same, opposite = (NOTHING.apply(images, Draws(count=6, hue=torch.full((6,), turn))) for turn in (0.1, -0.1))
    assert (same - expected).abs().mean() < 0.5 * (opposite - expected).abs().mean()


def test_noise_is_added_last_and_not_clipped() -> None:
    images = torch.zeros(200, 1, 8, 8)
    views = ViewPolicy(noise=0.1)(images, seeded())
    assert abs(views.std().item() - 0.1) < 4 * 0.1 / math.sqrt(2 * views.numel())
    assert views.min() < 0


@pytest.mark.parametrize("name", ["saturation", "hue", "greyscale"])
def test_one_channel_has_no_colour_to_lose(name: str) -> None:
    settings: dict[str, Any] = {name: 0.5}
    images = pictures(channels=1)
    assert torch.equal(ViewPolicy(**settings)(images, seeded()), images)


# Promises


def test_policy_that_does_nothing_returns_the_images_and_draws_nothing() -> None:
    generator = seeded()
    before = generator.get_state()
    images = pictures()
    assert NOTHING(images, generator) is images
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_views_keep_shape_type_and_range(name: str, channels: int) -> None:
    policy = dataclasses.replace(POLICIES[name], noise=0.0)
    for dtype in (torch.float32, torch.float64):
        images = pictures(50, channels).to(dtype)
        views = policy(images, seeded())
        assert (views.shape, views.dtype) == (images.shape, dtype)
        assert views.min() >= -1e-5
        assert views.max() <= 1 + 1e-5


@pytest.mark.parametrize("name", POLICIES)
def test_views_leave_the_images_alone(name: str) -> None:
    images = pictures()
    before = images.clone()
    views = POLICIES[name](images, seeded())
    assert torch.equal(images, before)
    assert not torch.equal(views, images)


@pytest.mark.parametrize("name", POLICIES)
def test_same_seed_same_views(name: str) -> None:
    images = pictures()
    first, again, other = (POLICIES[name](images, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", POLICIES)
def test_view_of_an_example_does_not_depend_on_its_batch(name: str) -> None:
    images, policy = pictures(40), POLICIES[name]
    draws = policy.draw(40, (3, 12, 10), seeded())
    together = policy.apply(images, draws)
    order = torch.randperm(40, generator=seeded(5))
    assert worst(policy.apply(images[order], draws[order]), together[order]) < 1e-6
    for example in (0, 17, 39):
        alone = policy.apply(images[example : example + 1], draws[torch.tensor([example])])
        assert worst(alone, together[example : example + 1]) < 1e-6


def test_one_draw_can_serve_every_image() -> None:
    draws = SIMCLR.draw(1, (3, 12, 10), seeded())
    views = SIMCLR.apply(pictures(1).expand(5, -1, -1, -1), draws[torch.zeros(5, dtype=torch.long)])
    assert worst(views, views[:1].expand_as(views)) < 1e-6


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_reach_the_images_once_and_twice(name: str) -> None:
    policy = dataclasses.replace(POLICIES[name], crop_padding=min(POLICIES[name].crop_padding, 1))
    images = (pictures(2, 3, 4, 5).double() * 0.3 + 0.35).requires_grad_()  # away from the kinks of clipping
    draws = policy.draw(2, (3, 4, 5), seeded(2))
    assert gradcheck(lambda x: policy.apply(x, draws), (images,))
    assert gradgradcheck(lambda x: policy.apply(x, draws).square(), (images,))


def test_penalty_on_an_input_gradient_reaches_the_weights() -> None:
    images = pictures(2).requires_grad_()
    weights = torch.randn(3 * 12 * 10, generator=seeded()).requires_grad_()
    confidence = (EVERYTHING(images, seeded()).flatten(1) @ weights).tanh()
    (gradient,) = torch.autograd.grad(confidence.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap of clamp_
def test_per_example_gradients_by_vmap_equal_the_loop() -> None:
    images = pictures(3)
    draws = EVERYTHING.draw(1, (3, 12, 10), seeded())

    def energy(image: Tensor) -> Tensor:
        return EVERYTHING.apply(image[None], draws).square().sum()

    looped = torch.stack([torch.func.grad(energy)(image) for image in images])
    assert worst(torch.func.vmap(torch.func.grad(energy))(images), looped) < 1e-4


@pytest.mark.parametrize("name", POLICIES)
def test_forward_and_backward_pass_as_deterministic(name: str) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            images = pictures().requires_grad_()
            POLICIES[name](images, seeded()).square().sum().backward()
            gradients.append(images.grad)
        assert torch.equal(gradients[0], gradients[1])
    finally:
        torch.use_deterministic_algorithms(before)


def test_autocast_does_not_touch_the_pixels() -> None:
    images = pictures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = EVERYTHING(images, seeded())
    assert torch.equal(views, EVERYTHING(images, seeded()))


def test_policy_survives_json() -> None:
    assert ViewPolicy(**json.loads(json.dumps(dataclasses.asdict(EVERYTHING)))) == EVERYTHING


# Statistics of the draws: seeds are fixed, bounds are four standard errors

COUNT = 20_000


def assert_mean(values: Tensor, mean: float, deviation: float) -> None:
    assert abs(values.double().mean().item() - mean) < 4 * deviation / math.sqrt(len(values))


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_flip_greyscale_jitter_and_blur_happen_as_often_as_asked(probability: float) -> None:
    policy = ViewPolicy(
        flip=probability,
        greyscale=probability,
        blur_probability=probability,
        jitter_probability=probability,
        hue=0.1,
        contrast=0.4,
    )
    draws = policy.draw(COUNT, (3, 12, 10), seeded())
    deviation = math.sqrt(probability * (1 - probability))
    for happened in (draws.flip, draws.grey, draws.sigma > 0, draws.hue != 0, draws.contrast != 1):
        assert_mean(happened, probability, deviation)
    assert torch.equal(draws.hue != 0, draws.contrast != 1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 40)])
def test_crop_boxes_fit_and_their_area_is_uniform(shape: tuple[int, int, int]) -> None:
    box = ViewPolicy(crop_scale=(0.2, 1.0)).draw(COUNT, shape, seeded()).box
    top, left, tall, wide = box.double().unbind(1)
    area = tall * wide / (shape[1] * shape[2])
    assert_mean(area, 0.6, 0.8 / math.sqrt(12))
    assert_mean((area - 0.6) ** 2, 0.8**2 / 12, 0.8**2 / math.sqrt(180))
    assert area.min() > 0.2 - 1e-4
    assert min(top.min(), left.min()) >= 0
    assert max((top + tall).max() - shape[1], (left + wide).max() - shape[2]) < 1e-4
    if shape[1] == shape[2]:
        assert (wide / tall).min() > 3 / 4 - 1e-4
        assert (wide / tall).max() < 4 / 3 + 1e-4
        assert_mean((wide / tall).log(), 0.0, math.log(4 / 3))


def test_ranges_of_the_other_draws() -> None:
    policy = ViewPolicy(crop_padding=2, rotation=0.3, zoom=(0.8, 1.2), shift=0.1, brightness=0.4, contrast=1.5, hue=0.2)
    draws = policy.draw(COUNT, (3, 12, 10), seeded())
    expected = {"angle": (-0.3, 0.3), "zoom": (0.8, 1.2), "brightness": (0.6, 1.4), "contrast": (0, 2.5)}
    for name, (low, high) in (expected | {"hue": (-0.2, 0.2)}).items():
        value = getattr(draws, name)
        assert low <= value.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < value.max() <= high
        assert_mean(value, (low + high) / 2, (high - low) / math.sqrt(12))
    assert set(draws.offset.flatten().tolist()) == {-2, -1, 0, 1, 2}
    for axis in (0, 1):
        assert_mean(draws.shift[:, axis], 0.0, 0.2 / math.sqrt(12))


# Mistakes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 0.2)),
        ("crop_scale", (0.5, 1.2)),
        ("crop_scale", (0.5,)),
        ("crop_ratio", (0.0, 1.0)),
        ("crop_ratio", None),
        ("crop_padding", -1),
        ("crop_padding", 1.5),
        ("flip", 1.5),
        ("flip", -0.1),
        ("flip", "often"),
        ("jitter_probability", 2.0),
        ("greyscale", math.nan),
        ("blur_probability", -1.0),
        ("blur_sigma", (2.0, 1.0)),
        ("brightness", -0.4),
        ("contrast", math.inf),
        ("saturation", -1.0),
        ("hue", 0.6),
        ("rotation", 4.0),
        ("shift", 1.1),
        ("zoom", (0.0, 1.0)),
        ("zoom", (1.0, math.inf)),
        ("zoom", 1.1),
        ("zoom", ("a", "b")),
        ("noise", -0.1),
    ],
)
def test_bad_parameter_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*\\.$"):
        ViewPolicy(**{name: value})


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "floating point"),
        (torch.zeros(3, 8, 8), "N, 1 or 3"),
        (torch.zeros(2, 2, 8, 8), "N, 1 or 3"),
        (torch.zeros(3, 3, 8, 8), "one row per image"),
    ],
)
def test_bad_images_are_refused(images: Tensor, message: str) -> None:
    draws = SIMCLR.draw(2, (3, 8, 8), seeded())
    with pytest.raises(ValueError, match=message):
        SIMCLR.apply(images, draws)
