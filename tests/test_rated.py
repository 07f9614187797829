"""Pictures of every quality are made once each, with the table that `purifiqa bench --mos` reads."""

import cv2
import numpy as np
from known_photographs import pixels

from app.bench.opinions import read_opinions
from app.command.files import find_images
from benchmarks import rated


def test_names_differ_where_photographs_names_do_and_what_is_too_small_is_left_out(tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "rated"
    (photos / "below").mkdir(parents=True)
    for place, name in (("a.png", "chelsea"), ("a.jpg", "coffee"), ("below/a.png", "rocket")):
        cv2.imwrite(str(photos / place), pixels(name, 192)[..., ::-1])
    cv2.imwrite(str(photos / "small.png"), np.zeros((40, 40, 3), np.uint8))
    rated.main(["--photos", str(photos), "--out", str(out), "--side", "192", "--damaged", "1"])
    assert "left out" in capsys.readouterr().err
    names = [str(image.name) for image in find_images([str(out)])[0]]
    opinions = read_opinions(out / "mos.csv", names)
    assert sorted(opinions) == sorted(names)
    assert len(names) == 3 * 2
    clean = {name for name in names if "-clean-0" in name}
    assert {opinions[name] for name in clean} == {100}
    assert all(opinions[name] < 100 for name in opinions if name not in clean)
