"""More photographs to train on, from packages of Debian: `python -m training.debian_photos --out DIR`.

Fetches the packages, checks their sums, and keeps what is large enough, not empty, and unlike every other picture:
reduced to a short side of at most 1080 pixels, as JPEG of quality 95 without chroma subsampling, with an index.csv that
says whence and under what license. `dpkg-deb` unpacks them, `djxl` (package libjxl-tools) reads JPEG XL.
"""

import argparse
import csv
import io
import itertools
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.command.download import fetch
from models.checkpoints import Published, check_published
from training.photos import photographs

POOL = "http://deb.debian.org/debian/pool/main/"
"""Packages that Debian has replaced are at snapshot.debian.org; saved in --packages by hand, they do as well."""
LEAST, MOST, LONGEST = 400, 1080, 3.0
"""Pixels of a short side; how many times as long the other may be."""
EMPTY = 12.0
"""Standard deviation of red, green and blue, of 255, below which a picture shows nothing."""
ALIKE = 16
"""Of the 256 bits of a print by which two pictures of the same thing may differ."""


class Package(NamedTuple):
    """Where photographs are."""

    file: str
    """In the pool."""
    sha256: str
    license: str
    """Of its pictures, or most of them; its copyright file says it for each."""
    pictures: str = r"\.(jpe?g|webp)$"
    """What their paths match."""


PACKAGES = (
    Package(
        "e/endless-sky-high-dpi/endless-sky-high-dpi_0.11.0-1_all.deb",
        "bff96f1b0a395636bff43072f605e2e90be5fa7b4128917224e25e5647fc245d",
        "public domain, CC-BY-SA-3.0 and CC-BY-SA-4.0",
        r"/images/land/",
    ),
    Package(
        "o/odoo/odoo-19_19.0.0+dfsg-1_all.deb",
        "9d2f598b0555db17e291d48ed24df184c70823c053c4c5ed53c467ca7f629bbf",
        "LGPL-3+",
        r"^(?!.*(preview|theme_default|l10n|mail|screenshots|testfiles).*/).*\.(jpe?g|webp)$",
    ),
    Package(
        "w/wordpress/wordpress-theme-twentytwentyfive_7.1.4+dfsg1-1_all.deb",
        "d7e8cac2b36e1b7e3d7837b727f9c4cf836f7b28bec752c75cee14fc7408a6e1",
        "GPL-2+",
    ),
    Package(
        "w/wordpress/wordpress-theme-twentytwentyfour_7.1.4+dfsg1-1_all.deb",
        "d5233a52cc31e0fb248a575d37d637c280436a8820e344f8b76fd24b8bac4e28",
        "GPL-2+",
    ),
    Package(
        "w/wordpress/wordpress-theme-twentytwentyone_6.1.9+dfsg1-0+deb12u1_all.deb",
        "f99bace8357c7c7418db71c431d19acf062132133a48fa19f105a69d775d29a0",
        "GPL-2+",
    ),
    Package(
        "u/ukui-wallpapers/ukui-wallpapers_20.04.4-1_all.deb",
        "3e9036f3e9fa197e3ff8fc6551eeba208f31ac99cba06da052e49a00d77ed62d",
        "CC-BY-SA-3.0",
        r"\.(jpe?g|png)$",
    ),
    Package(
        "b/budgie-backgrounds/budgie-backgrounds_4.2-1_all.deb",
        "114f980efcd2924b49b9201286ee212c97b4f3b0b84add4e983238f9a7b11896",
        "CC0-1.0",
        r"\.jxl$",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the packages and write their photographs. Raises CheckpointError, DownloadError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the photographs, an empty one")
    parser.add_argument("--packages", type=Path, help="folder for the packages, 1 GB; left out: OUT.packages")
    parser.add_argument(
        "--apart", type=Path, nargs="*", default=[], help="folders of photographs that none may be like"
    )
    options = parser.parse_args(arguments)
    packages = options.packages or options.out.with_name(f"{options.out.name}.packages")
    if options.out.exists() and any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty")
    options.out.mkdir(parents=True, exist_ok=True)
    known = Known(file for folder in options.apart for file in photographs(folder))
    with (options.out / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        index = csv.writer(stream)
        index.writerow(["file", "width", "height", "source", "licence"])
        for package in PACKAGES:
            kept = 0
            for stem, picture in _pictures(_fetched(package, packages), package):
                if _shows_something(picture) and known.adds(picture):
                    file, small = _unused(options.out, stem), _reduced(picture)
                    small.save(file, quality=95, subsampling=0)
                    index.writerow([file.name, *small.size, f"debian package {_name(package)}", package.license])
                    kept += 1
            print(f"{_name(package)}: {kept} photographs", flush=True)


class Known:
    """Prints of pictures, by which one is told that is there already."""

    def __init__(self, files: Iterator[Path]) -> None:
        """Begin with the pictures in `files`."""
        self._prints = []
        for file in files:
            with Image.open(file) as picture:
                self._prints.append(_print_of(picture))

    def adds(self, picture: Image.Image) -> bool:
        """Return whether a picture is unlike all before it; then it is one of them."""
        mark = _print_of(picture)
        if any(int((mark != other).sum()) <= ALIKE for other in self._prints):
            return False
        self._prints.append(mark)
        return True


def _print_of(picture: Image.Image) -> NDArray[np.bool_]:
    """Return whether each of 16 x 16 places is brighter than the one left of it (a "difference hash")."""
    places = np.asarray(picture.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return (places[:, 1:] > places[:, :-1]).ravel()


def _name(package: Package) -> str:
    return PurePosixPath(package.file).name.partition("_")[0]


def _fetched(package: Package, folder: Path) -> Path:
    published = Published(
        name=_name(package),
        file=PurePosixPath(package.file).name,
        url=POOL + package.file,
        license=package.license,
        sha256=package.sha256,
        download=POOL + package.file,
    )
    saved = folder / published.file
    if saved.exists():  # by hand, perhaps: another file is refused, not replaced
        check_published(saved, published)
        return saved
    return fetch(published, folder, lambda _, __: None)


def _pictures(deb: Path, package: Package) -> Iterator[tuple[str, Image.Image]]:
    """Yield the pictures of a package with stems of names for them, in the order of their paths."""
    with tempfile.TemporaryFile() as unpacked:
        _run("dpkg-deb", "--fsys-tarfile", deb, into=unpacked)
        unpacked.seek(0)
        with tarfile.open(fileobj=unpacked) as archive:
            members = [one for one in archive if one.isfile() and re.search(package.pictures, one.name, re.IGNORECASE)]
            for member in sorted(members, key=lambda one: one.name):
                path = PurePosixPath(member.name)
                content = archive.extractfile(member).read()  # type: ignore[union-attr]
                stem = path.stem.replace("@2x", "").replace(" ", "-").lower()
                yield f"{_name(package)}-{stem}", _decoded(content, path.suffix.lower())


def _unused(folder: Path, stem: str) -> Path:
    """Return a file that is not there yet: pictures of several folders of a package have the same name."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(file for name in names if not (file := folder / f"{name}.jpg").exists())


def _decoded(content: bytes, suffix: str) -> Image.Image:
    if suffix == ".jxl":
        content = _as_png(content)
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture.convert("RGBA"))
    return paper.convert("RGB")


def _as_png(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "picture.jxl", Path(folder) / "picture.png"
        source.write_bytes(content)
        _run("djxl", source, target)
        return target.read_bytes()


def _run(tool: str, *arguments: str | Path, into: IO[bytes] | int = subprocess.DEVNULL) -> None:
    try:
        subprocess.run([tool, *arguments], check=True, stdout=into, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise SystemExit(f"{tool} is needed and not here; on Debian: apt install dpkg libjxl-tools") from error


def _shows_something(picture: Image.Image) -> bool:
    is_large = min(picture.size) >= LEAST and max(picture.size) <= LONGEST * min(picture.size)
    places = np.asarray(picture.resize((64, 64), Image.Resampling.BOX), float)
    return is_large and float(places.std((0, 1)).max()) >= EMPTY


def _reduced(picture: Image.Image) -> Image.Image:
    factor = MOST / min(picture.size)
    if factor >= 1:
        return picture
    return picture.resize([round(edge * factor) for edge in picture.size], Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
