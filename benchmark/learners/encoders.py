"""Networks from timm, with a stem for small images. `resnet` is timm's class built by layers and channels."""

from collections.abc import Mapping
from typing import Any

import timm
import torch.nn as nn
from timm.models.resnet import BasicBlock, ResNet

from benchmark.errors import BenchmarkError, UnknownName

_OPTIONS = ("layers", "channels", "stem_stride", "stem", "params")


def build_encoder(options: Mapping[str, Any], in_channels: int) -> nn.Module:
    """An encoder [N, C, H, W] -> [N, D] with `num_features` = D.

    Args:
        options: `{"name": "resnet", "layers": [1, 1, 1], "channels": [16, 32, 64], "stem_stride": 1}`, or any name
            of timm with `stem` "small" (3 x 3 of `stem_stride`, no pooling; the default where the network has such
            a stem) or "timm" (as timm builds it), and `params` for timm.
        in_channels: C.

    Raises:
        BenchmarkError: For unknown options or names.
    """
    for option in options:
        if option not in ("name", *_OPTIONS):
            raise UnknownName("option", option, ["name", *_OPTIONS], "encoder")
    name, stride = options.get("name", "resnet"), options.get("stem_stride", 1)
    if name == "resnet":
        encoder: Any = _resnet(options.get("layers", [1, 1, 1]), options.get("channels", [16, 32, 64]), in_channels)
    elif timm.is_model(name):
        encoder = timm.create_model(name, num_classes=0, in_chans=in_channels, **options.get("params", {}))
    else:
        raise UnknownName("encoder", name, ["resnet", *timm.list_models()], "timm")
    if options.get("stem", "small") == "small" and hasattr(encoder, "conv1") and hasattr(encoder, "maxpool"):
        width = encoder.bn1.num_features
        encoder.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        encoder.maxpool = nn.Identity()
    return encoder  # type: ignore[no-any-return]


def _resnet(layers: list[int], channels: list[int], in_channels: int) -> nn.Module:
    """Timm's ResNet of BasicBlocks. Its "deep" stem is the one whose width may differ from 64; ours replaces it."""
    if not 1 <= len(layers) == len(channels) <= 4:
        raise BenchmarkError(f"encoder: layers {layers} and channels {channels} must be equally long lists of 1 to 4.")
    if sum(layers) < 2:
        raise BenchmarkError(f"encoder: layers {layers} make one block; timm's ResNet needs two or more.")
    encoder = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm annotates the class as its instance
        layers=tuple(layers),
        channels=tuple(channels),
        num_classes=0,
        in_chans=in_channels,
        stem_type="deep",
        stem_width=channels[0] // 2,
        zero_init_last=False,  # short trainings memorise little with residual branches that start at zero
    )
    for stage in range(len(layers) + 1, 5):
        setattr(encoder, f"layer{stage}", nn.Identity())  # timm always calls all four
    return encoder
