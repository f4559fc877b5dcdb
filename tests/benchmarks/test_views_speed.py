"""Images per second of SimCLR's chain on 32 x 32 RGB: whole batches here and by kornia, torchvision image by image."""

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmark.learners.views import ViewPolicy

OWN = ViewPolicy(
    crop_scale=(0.2, 1),
    flip=0.5,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    greyscale=0.2,
)
DIGITS = ViewPolicy(rotation=0.15, shift=0.08, zoom=(0.9, 1.1), noise=0.1)


def own(policy: ViewPolicy = OWN) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda images: policy(images, generator)


def kornia_batch() -> Callable[[Tensor], Tensor]:
    augmentation = pytest.importorskip("kornia.augmentation", reason="kornia is a development dependency")
    chain: Callable[[Tensor], Tensor] = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((32, 32), scale=(0.2, 1.0)),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.0, p=0.8),
        augmentation.RandomGrayscale(p=0.2),
    )
    return chain


def torchvision_each() -> Callable[[Tensor], Tensor]:
    chain = v2.Compose(
        [
            v2.RandomResizedCrop(32, scale=(0.2, 1.0), antialias=False),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    )
    return lambda images: torch.stack([chain(image) for image in images])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def speed(benchmark: Any, name: str, views: Callable[[Tensor], Tensor], images: Tensor, rounds: int) -> float:
    """Images per second, from the median of the rounds."""
    made = benchmark.pedantic(views, args=(images,), rounds=rounds, warmup_rounds=2)
    assert made.shape == images.shape
    if benchmark.disabled:
        pytest.skip("speeds need --benchmark-enable")
    return report(benchmark, name, len(images) / benchmark.stats.stats.median)


def report(benchmark: Any, name: str, reached: float, key: str = "images_per_second") -> float:
    benchmark.extra_info[key] = round(reached)
    print(f"\n{name}: {reached:,.0f} images per second")
    return reached


def median_seconds(views: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Of seven calls, after two that do not count."""
    seconds = []
    for _ in range(9):
        start = perf_counter()
        views(images)
        seconds.append(perf_counter() - start)
    return median(seconds[2:])


@pytest.mark.parametrize("batch", [128, 512])
def test_torchvision_image_by_image(benchmark: Any, batch: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(batch, 3, 32, 32)
    speed(benchmark, f"torchvision, 32 px, {batch}", torchvision_each(), images, rounds=3)


@pytest.mark.parametrize("batch", [128, 512])
def test_own_by_batch_is_at_least_three_times_kornia(benchmark: Any, batch: int) -> None:
    torch.manual_seed(0)
    images, chain = torch.rand(batch, 3, 32, 32), kornia_batch()
    seconds = median_seconds(chain, images)
    reached = speed(benchmark, f"own, 32 px, {batch}", own(), images, rounds=25)
    kornia = report(benchmark, f"kornia, 32 px, {batch}", batch / seconds, "kornia_images_per_second")
    assert reached >= 3 * kornia


@pytest.mark.parametrize("batch", [128, 512])
def test_own_on_16_pixels(benchmark: Any, batch: int) -> None:
    speed(benchmark, f"own, 16 px, {batch}", own(), torch.rand(batch, 3, 16, 16), rounds=25)


@pytest.mark.parametrize("batch", [128, 512])
def test_own_digits_policy_on_8_pixels(benchmark: Any, batch: int) -> None:
    images = torch.rand(batch, 1, 8, 8)
    speed(benchmark, f"own, digits policy, 8 px, {batch}", own(DIGITS), images, rounds=25)
