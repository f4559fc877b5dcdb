"""Any image classification set that is a folder of images per class: `folder:PATH`.

The layout is the one of torchvision's ImageFolder; with PATH/train and PATH/test these are the two parts.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torchvision.datasets import ImageFolder

from benchmark.api import BenchmarkError, Dataset, ImageData, decode_images, register_dataset


@register_dataset(
    "folder",
    title="Images in folders",
    licence="that of the files",
    citation="that of the files",
)
@dataclass(frozen=True, kw_only=True)
class Folder(Dataset):
    """A folder of class folders, or of `train` and `test` that hold the same class folders.

    Attributes:
        path: The folder, as given or below the data folder.
        size: Side in pixels to which all images are resized; needed if they differ in size.
    """

    path: str
    size: int | None = None

    def files(self, root: Path) -> list[Path]:
        return [Path(file) for part in self._parts(root) for file, _ in part.samples]

    def load(self, root: Path) -> ImageData:
        parts = self._parts(root)
        files = [Path(file) for part in parts for file, _ in part.samples]
        labels = torch.tensor([label for part in parts for _, label in part.samples])
        test = torch.arange(len(files)) >= len(parts[0])
        return ImageData.of(decode_images(files, list(map(str, files)), self.size), labels, test, parts[0].classes)

    def _parts(self, root: Path) -> list[ImageFolder]:
        """All images, or the training and the test part."""
        places = (Path(self.path).expanduser(), root / self.path)
        folder = next((place for place in places if place.is_dir()), None)
        if folder is None:
            raise BenchmarkError(f"folder:{self.path}: no such folder, neither as given nor below {root}.")
        cut = [folder / "train", folder / "test"]
        try:
            parts = [ImageFolder(part) for part in (cut if all(part.is_dir() for part in cut) else [folder])]
        except FileNotFoundError as error:
            raise BenchmarkError(
                f"folder:{self.path}: {' '.join(str(error).split())} One folder of images per class is right."
            ) from error
        if len({tuple(part.classes) for part in parts}) > 1:
            raise BenchmarkError(f"folder:{self.path}: train and test hold different class folders.")
        return parts
