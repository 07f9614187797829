"""Carrying out an order: pure, without queue and store."""

import cv2
import numpy as np
import pytest

from models.defenses import parse_defense
from models.images import BrokenImageError, ImageFormat
from models.metric import UndefinedScoreError, UnsuitableSizeError
from models.metrics import find_metric
from workers.jobs import check_sizes, execute
from workers.orders import DefenseOrder, Kind


def order(defense="none", **fields):
    return DefenseOrder(**{"kind": Kind.PURIFY, "defense": parse_defense(defense), **fields})


def test_the_purified_file_is_the_defense_applied_to_the_decoded_file(photo, photo_png):
    report, file = execute(order("flip"), photo_png)
    purified = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(purified, photo[::-1, ::-1])
    assert (report.image.height, report.image.width) == photo.shape[:2]
    assert report.image.bytes == len(file)


def test_the_report_tells_the_size_that_the_defense_leaves(photo_png):
    report, _ = execute(order('{"name": "resize", "scale": 0.5}'), photo_png)
    assert (report.image.width, report.image.height) == (64, 48)


def test_a_score_makes_no_file(photo_png):
    report, file = execute(order(kind=Kind.SCORE), photo_png)
    assert file is None
    assert report.image is None


@pytest.mark.parametrize("kind", list(ImageFormat))
def test_the_format_is_the_one_ordered(photo_png, kind):
    _, file = execute(order(format=kind), photo_png)
    assert cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR) is not None
    starts = {ImageFormat.PNG: b"\x89PNG", ImageFormat.JPEG: b"\xff\xd8", ImageFormat.WEBP: b"RIFF"}
    assert file.startswith(starts[kind])


def test_progress_is_told_inside_of_one_purification(photo_png):
    seen = []
    many = order('{"name": "diffpure", "sampler": "ddim", "steps": 4}', kind=Kind.PURIFY)
    execute(many, photo_png, progress=seen.append)
    assert [round(fraction, 3) for fraction in seen[:4]] == [0.2, 0.4, 0.6, 0.8]


def test_progress_rises_to_one_and_may_stop_the_job(photo_png):
    seen = []
    execute(order("random-noise", samples=4, kind=Kind.SCORE), photo_png, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) >= 4
    assert 0.5 < seen[-1] <= 1

    class StopError(Exception):
        pass

    def stop(_):
        raise StopError

    with pytest.raises(StopError):
        execute(order("random-noise"), photo_png, progress=stop)


def test_a_broken_file_is_the_images_error(photo_png):
    with pytest.raises(BrokenImageError):
        execute(order(), photo_png[: len(photo_png) // 2])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"metrics": ("piqe", "niqe")}, "This is about the image purified by gaussian-blur. Leave out niqe"),
        ({"metrics": ("niqe",)}, "This is about the image purified by gaussian-blur. Leave out niqe"),
        ({"metrics": ("piqe", "niqe"), "kind": Kind.SCORE}, "Leave out niqe to get everything else."),
        ({"metrics": ("niqe",), "kind": Kind.SCORE}, "Choose another metric."),
    ],
)
def test_a_purified_image_without_a_score_is_told_apart_with_the_way_to_the_rest(fields, told, monkeypatch):
    def once(self, images):
        if images.std() < 0.1:
            raise UndefinedScoreError("niqe is not defined for this image")
        return images.mean((1, 2, 3))

    monkeypatch.setattr(type(find_metric("niqe")), "score", once)
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    png = cv2.imencode(".png", noise)[1].tobytes()
    with pytest.raises(UndefinedScoreError, match=r"niqe is not defined for this image\. This is about") as caught:
        execute(order('{"name": "gaussian-blur", "kernel": 7, "sigma": 5}', **fields), png)
    assert told in str(caught.value)


def test_a_failure_on_the_image_as_it_came_costs_no_purification(monkeypatch):
    purified = []
    defense = parse_defense("gaussian-blur")
    monkeypatch.setattr(type(defense), "__call__", lambda *_: purified.append(1))
    flat = cv2.imencode(".png", np.full((100, 100, 3), 90, np.uint8))[1].tobytes()
    with pytest.raises(UndefinedScoreError, match="This is about the original image"):
        execute(order("gaussian-blur", metrics=("piqe", "niqe")), flat)
    assert purified == []


def test_sizes_that_a_metric_cannot_take_are_known_before_the_job_runs():
    check_sizes(parse_defense("none"), ("niqe",), 96, 96)
    with pytest.raises(UnsuitableSizeError, match="96"):
        check_sizes(parse_defense("none"), ("niqe",), 95, 300)
    with pytest.raises(UnsuitableSizeError, match="96"):
        check_sizes(parse_defense('{"name": "resize", "scale": 0.5}'), ("niqe",), 190, 300)


def test_an_order_survives_json():
    full = order('{"name": "chain", "steps": [{"name": "jpeg"}, {"name": "flip"}]}', metrics=("piqe",), seed=9)
    assert DefenseOrder.model_validate_json(full.model_dump_json()) == full
