import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import ACCEPTED, HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from image_builders import interlaced_rows, jpeg, png, png_bomb, png_claiming, resealed, rows, saved, webp, with_alpha
from PIL import Image, ImageFile

from models.image_files.reading import inspect
from models.images import (
    BrokenImageError,
    ImageError,
    ImageFormat,
    ImageLimits,
    ImageTooLargeError,
    ImageTooSmallError,
    check,
    decode,
    encode,
)

REFUSALS = [pytest.param(build, code, id=name) for name, (build, _, code) in HOSTILE.items()]
READABLE = [pytest.param(build, id=name) for name, build in ACCEPTED.items()]
WHOLE = {"PNG": saved, "JPEG": jpeg, "WebP": webp}


def outcome(read, data):
    try:
        return read(data)
    except ImageError as error:
        return type(error)


@pytest.mark.parametrize("read", [check, decode])
@pytest.mark.parametrize(("build", "code"), REFUSALS)
def test_a_hostile_file_is_refused_for_its_reason(build, code, read):
    with pytest.raises(ImageError) as caught:
        read(build())
    assert caught.value.code == code
    assert str(caught.value)


@pytest.mark.parametrize("build", READABLE)
def test_an_odd_file_is_read_and_check_says_what_decode_says(build):
    data = build()
    tensor, facts = decode(data)
    assert check(data) == facts
    assert sorted([facts.width, facts.height]) == [48, 64]
    assert tensor.shape == (1, 3, facts.height, facts.width)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    assert (facts.bytes, facts.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("build", READABLE)
@pytest.mark.parametrize("form", ImageFormat)
def test_what_is_written_holds_pixels_and_nothing_else(build, form):
    written = encode(decode(build())[0], form)
    header = inspect(written)
    assert (header.icc, header.exif, header.remarks) == (None, None, ())
    assert len(header.drawing) <= len(written) <= len(header.drawing) + 18  # OpenCV may write JFIF's density
    assert b"PK\3\4" not in written


@pytest.mark.parametrize(
    ("data", "limits", "kind", "limit", "actual"),
    [
        (saved(), {"max_bytes": 1000}, ImageTooLargeError, 1000, len(saved())),
        (saved(), {"max_pixels": 64 * 48 - 1}, ImageTooLargeError, 64 * 48 - 1, 64 * 48),
        (saved(), {"max_side": 63}, ImageTooLargeError, 63, 64),
        (saved(), {"min_side": 49}, ImageTooSmallError, 49, 48),
    ],
)
def test_refusals_say_the_limit_and_what_was_there(data, limits, kind, limit, actual):
    with pytest.raises(kind) as caught:
        check(data, ImageLimits(**limits))
    assert (caught.value.limit, caught.value.actual) == (limit, actual)


def test_an_image_exactly_at_the_limits_is_accepted():
    data = saved()
    assert check(data, ImageLimits(max_bytes=len(data), max_pixels=64 * 48, min_side=48, max_side=64)).width == 64


@pytest.mark.parametrize("build", WHOLE.values(), ids=WHOLE)
def test_no_beginning_of_a_file_is_taken_for_the_whole(build):
    data = build()
    for length in [*range(40), *range(40, len(data), 37), *range(len(data) - 20, len(data))]:
        with pytest.raises(ImageError):
            check(data[:length])


@pytest.mark.parametrize("data", [saved()[:-900], png_claiming(64, 49), jpeg()[:-300], webp()[:-300]])
def test_files_that_end_early_are_refused_whatever_pillow_is_set_to(data, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert outcome(check, data) is BrokenImageError
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert outcome(decode, data) is BrokenImageError


@pytest.mark.parametrize("build", [saved, jpeg])
def test_pillows_own_limit_on_pixels_does_not_matter(build, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(build())[1].width == 64


@given(
    size=st.tuples(st.integers(16, 40), st.integers(16, 40)),
    kind=st.sampled_from([(1, 0, 1), (2, 0, 1), (4, 0, 1), (8, 0, 1), (16, 0, 1), (8, 4, 2), (8, 2, 3), (16, 6, 4)]),
    is_interlaced=st.booleans(),
    data=st.data(),
)
@settings(max_examples=150, deadline=None, database=None)
def test_a_png_of_any_shape_has_all_its_rows_or_is_refused(size, kind, is_interlaced, data):
    (width, height), (depth, color, channels) = size, kind
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    pixels = np.zeros(shape, np.uint16 if depth == 16 else np.uint8)
    packed = (interlaced_rows if is_interlaced else rows)(pixels, depth)
    assert decode(png(size, depth, color, packed, interlace=int(is_interlaced)))[1].height == height
    cut = data.draw(st.integers(0, len(packed) - 1))
    for read in (check, decode):
        assert outcome(read, png(size, depth, color, packed[:cut], interlace=int(is_interlaced))) is BrokenImageError


SMALL = [build() for name, build in ACCEPTED.items() if "100 MB" not in name]
EDITS = st.lists(st.tuples(st.integers(0), st.binary(max_size=8), st.integers(0, 30)), min_size=1, max_size=6)


@given(start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"]), rest=st.binary(max_size=500))
@settings(max_examples=300, deadline=None, database=None)
def test_random_bytes_are_refused_and_nothing_worse(start, rest):
    assert issubclass(outcome(check, start + rest), ImageError)


@given(data=st.sampled_from(SMALL), edits=EDITS, is_resealed=st.booleans())
@settings(max_examples=500, deadline=None, database=None)
def test_a_damaged_file_is_refused_or_read_by_check_and_decode_alike(data, edits, is_resealed):
    for where, replacement, removed in edits:
        place = where % (len(data) + 1)
        data = data[:place] + replacement + data[place + removed :]
    if is_resealed and data.startswith(b"\x89PNG"):
        data = resealed(data)
    limits = ImageLimits(max_pixels=1_000_000)
    checked = outcome(lambda file: check(file, limits), data)
    decoded = outcome(lambda file: decode(file, limits)[1], data)
    assert checked == decoded


def test_threads_read_the_same_pixels_as_one():
    names = ["JPEG with wide-gamut profile", "CMYK JPEG", "MPO", "WebP with alpha", "16-bit RGB PNG"]
    files = [ACCEPTED[name]() for name in names] * 40
    expected = [decode(data) for data in files[: len(names)]]
    barrier = threading.Barrier(8)
    with ThreadPoolExecutor(8, initializer=barrier.wait) as pool:
        for index, (tensor, facts) in enumerate(pool.map(decode, files)):
            assert torch.equal(tensor, expected[index % len(names)][0])
            assert facts == expected[index % len(names)][1]


MEASURE = """
import re, sys
from pathlib import Path
from models.images import ImageError, check, decode

def peak():
    # not ru_maxrss: it survives exec, so this process would begin with its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

read = {"check": check, "decode": decode}
files = [(read[path.name.split()[0]], path.read_bytes()) for path in map(Path, sys.argv[1:])]
decode(files[0][1])
before = peak()
for function, data in files:
    try:
        function(data)
    except ImageError:
        pass
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux' /proc")
def test_bombs_and_checks_of_large_images_take_less_than_20_megabytes(tmp_path):
    files = {
        "decode a small image": saved(),
        **{f"decode {name}": build() for name, (build, _, _) in HOSTILE.items() if "bomb" in name},
        **{f"decode {name}": build() for name, build in ACCEPTED.items() if "100 MB" in name},
        "check a PNG of 16 megapixels": png_bomb(4000, 4000),
        "check a JPEG of 16 megapixels": saved(Image.new("RGB", (4000, 4000), "teal"), "JPEG"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in files)]
    assert int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) < 20_000


def test_colors_hidden_under_transparency_do_not_reach_the_output():
    loud = with_alpha()
    loud[:, 43:, :3] = (255, 0, 0)
    pixels, _ = decode(encode(decode(saved(Image.fromarray(loud)))[0], ImageFormat.PNG))
    assert (pixels[:, :, :, 43:] == 1).all()
