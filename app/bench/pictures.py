"""The pictures of a study: read, brought to one size, and those that cannot be used listed."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from app.bench.folder import Folder
from app.bench.items import BenchError, Skipped, slug
from app.bench.parameters import Picture
from app.command.files import FilesError, ImageFile, find_images
from models.images import ImageFormat, ImageLimits, decode, encode
from models.noise import derive_seed


def prepare(
    folder: Path,
    *,
    out: Path,
    size: tuple[int, int] | None,
    most: int | None,
    seed: int,
    limits: ImageLimits,
    check_size: Callable[[int, int], None],
    keep: Callable[[str, bytes], None],
) -> tuple[tuple[Picture, ...], tuple[Skipped, ...]]:
    """Read the pictures below `folder` in the order of their names, at most `most` usable ones, and `keep` each as PNG.

    `size` is (width, height) or None. `check_size` raises ValueError for a height and width that an attack or a metric
    refuses. A picture that cannot be used is skipped, with the reason, and so are copies of another (means and their
    intervals count pictures as independent) and the results of other studies.
    Raises BenchError if there is no picture that can be used.
    """
    try:
        files, others = find_images([str(folder)], out)
    except FilesError as error:
        raise BenchError(str(error)) from error
    pictures: dict[str, Picture] = {}
    skipped = [_skipped(file, why) for file, why in others]
    places = {place for file in files for place in _places(file, folder)}
    studies = {place for place in places if Folder(place).holds_a_study()}
    earlier = [ImageFile(place, place.relative_to(folder)) for place in sorted(studies)]
    skipped += [_skipped(place, "it holds the results of a study") for place in earlier]
    for file in files:
        if studies.intersection(_places(file, folder)):
            continue
        if most is not None and len(pictures) == most:
            break
        if not _can_be_told(file):
            skipped.append(_skipped(file, "its name is not UTF-8, which a study needs: rename it"))
            continue
        try:
            data = file.path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if digest in pictures:
                raise ValueError(f"it is a copy of {pictures[digest].name}")  # noqa: TRY301 - a reason as any other
            image = fit(decode(data, limits)[0], size)
            check_size(image.shape[2], image.shape[3])
        except (OSError, ValueError) as error:  # ImageError is a ValueError
            skipped.append(_skipped(file, str(error)))
            continue
        pictures[digest] = _picture(file, digest, image, seed)
        keep(pictures[digest].key, encode(image, ImageFormat.PNG))
    if not pictures:
        raise BenchError(f"{folder}: none of {len(skipped)} images can be used: {_reasons(skipped)}")
    return tuple(pictures.values()), tuple(skipped)


def _places(file: ImageFile, folder: Path) -> list[Path]:
    """Return the folders below `folder` that a file lies in."""
    return [place for place in file.path.parents if folder in place.parents]


def fit(image: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Return the largest middle part of an image (1, 3, H, W) of the shape of `size`, (width, height), shrunk to it.

    Shrinking is bicubic and antialiased, the result 8-bit. None: the image as it is.
    Raises ValueError for an image that would have to be enlarged.
    """
    if size is None:
        return image
    height, width = image.shape[2:]
    if width < size[0] or height < size[1]:
        raise ValueError(f"it is {width}x{height}, smaller than {size[0]}x{size[1]}: images are never enlarged")
    scale = min(width / size[0], height / size[1])
    wide, high = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - high) // 2, (width - wide) // 2
    cut = image[..., top : top + high, left : left + wide]
    if (wide, high) != size:
        cut = F.interpolate(cut, size=(size[1], size[0]), mode="bicubic", align_corners=False, antialias=True)
    return cut.clamp(0, 1).mul(255).round().div(255)


def _can_be_told(file: ImageFile) -> bool:
    return str(file.name) == _name_of(file)


def _name_of(file: ImageFile) -> str:
    """Return its name, with what is not UTF-8 in it written as codes."""
    return str(file.name).encode("utf-8", "backslashreplace").decode()


def _skipped(file: ImageFile, reason: str) -> Skipped:
    return Skipped(kind="image", name=_name_of(file), reason=reason)


def _picture(file: ImageFile, digest: str, image: Tensor, seed: int) -> Picture:
    return Picture(
        name=str(file.name),
        key=slug(str(file.name)),
        sha256=digest,
        seed=derive_seed(seed, 1 + int(digest[:12], 16), "picture"),
        width=image.shape[3],
        height=image.shape[2],
    )


def _reasons(skipped: Sequence[Skipped]) -> str:
    return "; ".join(f"{one.name}: {one.reason}" for one in skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
