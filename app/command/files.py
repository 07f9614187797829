"""Image files named on a command line: which they are, and where their purified twins go."""

import contextlib
import glob
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".webp": "webp"}
"""Of images that can be read, by how their names end."""
OTHERS = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff",
}  # fmt: skip
"""Of images that cannot."""
UNREADABLE = "the file is not a PNG, JPEG or WebP image"
NOWHERE = "it is a symbolic link to a file that does not exist"
ELSEWHERE = "it is a symbolic link to a folder elsewhere, which is not searched; name that folder too"


class FilesError(ValueError):
    """The names given cannot be worked with; the message says why."""


@dataclass(frozen=True)
class ImageFile:
    """A file to read, and its name below the folder or pattern it was found by."""

    path: Path
    name: Path


LeftOut = tuple[ImageFile, str]
"""What lies in a folder and cannot be read, and why."""


@contextlib.contextmanager
def _refusals_told() -> Iterator[None]:
    """Turn what the system says of a name (too long, in a folder that is shut, links in a circle) into FilesError."""
    try:
        yield
    except OSError as error:
        raise FilesError(f"{error.filename}: {error.strerror}") from error
    except RuntimeError as error:  # links in a circle, until Python 3.12
        raise FilesError(str(error)) from error


@_refusals_told()
def find_images(arguments: list[str], out: Path | None = None) -> tuple[list[ImageFile], list[LeftOut]]:
    """Return the files that the arguments name: files, folders (searched throughout) and patterns, in order, once each;
    and what cannot be read in those folders, and why: to be told of, not passed over.

    What lies below the folder `out`, where results go, is not taken for an input if `out` is the folder of an argument
    or lies in it; an argument that itself lies below `out` is taken at its word.
    Raises FilesError if an argument names nothing, or nothing but earlier results.
    """
    found, left_out = dict[Path, ImageFile](), list[LeftOut]()
    for argument in arguments:
        if not argument:
            raise FilesError("the name of an image, folder or pattern is empty")
        named, others = _named_by(argument)
        left_out += [(other, why) for other, why in others if not _is_result(other.path, argument, out)]
        images = [image for image in named if not _is_result(image.path, argument, out)]
        if not named:
            whys = "".join(f"; {other.path}: {why}" for other, why in others[:3]) + ("; ..." if others[3:] else "")
            nothing = "no such file, and no folder or pattern with PNG, JPEG or WebP images in it"
            raise FilesError(f"{argument}: {nothing}{whys}")
        if not images:
            raise FilesError(f"{argument}: all its images are in the output folder {out}; choose another -o")
        for image in images:
            found.setdefault(image.path.resolve(), image)
    known = {Path(argument).resolve() for argument in arguments} | ({out.resolve()} if out else set())
    left_out = [(one, why) for one, why in left_out if why != ELSEWHERE or known.isdisjoint(_with_parents(one.path))]
    return list(found.values()), left_out


def _with_parents(path: Path) -> list[Path]:
    place = path.resolve()
    return [place, *place.parents]


def _is_result(path: Path, argument: str, out: Path | None) -> bool:
    """Return whether a file that was found by an argument may be the result of an earlier run."""
    if out is None or path == Path(argument):
        return False
    place, searched = out.resolve(), _folder_of(argument).resolve()
    return place in path.resolve().parents and (searched == place or searched in place.parents)


def _folder_of(argument: str) -> Path:
    """Return the folder that an argument is, or, of a pattern, the one in which it is looked for."""
    path = Path(argument)
    if path.is_dir():
        return path
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))


def _named_by(argument: str) -> tuple[list[ImageFile], list[LeftOut]]:
    path = Path(argument)
    if _is_file(path):
        return [ImageFile(path, Path(path.name))], []
    if path.is_dir():
        return _below(path)
    matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 - absolute patterns
    return [ImageFile(match, Path(match.name)) for match in matches if _is_file(match)], []


def _below(folder: Path) -> tuple[list[ImageFile], list[LeftOut]]:
    shut = list[OSError]()
    places = list(os.walk(folder, onerror=shut.append))
    files = sorted(Path(place, name) for place, _, names in places for name in names)
    links = sorted(path for place, names, _ in places for name in names if (path := Path(place, name)).is_symlink())
    images = [file for file in files if file.suffix.lower() in FORMATS and _is_file(file)]
    others = [(file, UNREADABLE) for file in files if file.suffix.lower() in OTHERS and _is_file(file)]
    others += [(file, NOWHERE) for file in files if file.suffix.lower() in FORMATS and _leads_nowhere(file)]
    others += [(link, ELSEWHERE) for link in links if folder.resolve() not in _with_parents(link)]
    others += [(Path(error.filename), f"the folder cannot be read: {error.strerror}") for error in shut]
    return [ImageFile(file, file.relative_to(folder)) for file in images], [
        (ImageFile(path, path.relative_to(folder)), why) for path, why in others
    ]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # in a folder that may be listed and not entered: who reads it will tell
        return True


def _leads_nowhere(path: Path) -> bool:
    return not os.path.lexists(os.path.realpath(path))


@_refusals_told()
def named_format(out: Path | None) -> str | None:
    """Return the format that the name of a result says; None for a folder, and for a name that says none."""
    return None if out is None or out.is_dir() else FORMATS.get(out.suffix.lower())


@_refusals_told()
def plan_outputs(images: list[ImageFile], out: Path, suffix: str) -> list[Path]:
    """Return where each purified image goes: below the folder `out`, or `out` itself for one image and a file name.

    Raises FilesError if two would have the same name or one would overwrite its own input, for a file name that
    results cannot have, and where nothing can be written.
    """
    ending = "" if out.is_dir() else out.suffix.lower()
    if ending in OTHERS:
        raise FilesError(f"{out}: results are PNG, JPEG or WebP files; name one, or a folder")
    if out.exists() and not out.is_dir() and ending not in FORMATS:
        raise FilesError(f"{out} is a file; name a folder, or a PNG, JPEG or WebP file for one image")
    if ending in FORMATS and len(images) > 1:
        raise FilesError(f"{out} is one file, but there are {len(images)} images; name a folder")
    single = len(images) == 1 and ending in FORMATS
    outputs = [out if single else out / image.name.with_suffix(suffix) for image in images]
    check_place(out)
    inputs = {image.path.resolve(): image.path for image in images}
    taken: dict[Path, Path] = {}
    for image, output in zip(images, outputs, strict=True):
        if output in taken:
            raise FilesError(
                f"{taken[output]} and {image.path} would both become {output}; run the command on each separately"
            )
        if output.resolve() in inputs:
            raise FilesError(f"{inputs[output.resolve()]} would be overwritten; choose another -o")
        taken[output] = image.path
    return outputs


@_refusals_told()
def check_place(out: Path) -> None:
    """Raise FilesError if nothing can be written to `out`, a file or a folder that there need not be."""
    place = out.absolute()
    above = place if place.is_dir() else next(one for one in place.parents if one.exists())
    if not above.is_dir():
        raise FilesError(f"{out}: {above} is a file, not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise FilesError(f"{out}: no permission to write in {above}")
