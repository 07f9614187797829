"""`POST /score` from outside: robust numbers, and where they come from."""

import cv2
import numpy as np
import pytest

WAIT = {"Prefer": "wait=60"}


def test_a_score_tells_the_number_before_and_after_and_its_origin(order):
    job = order("/score", defense="jpeg", metrics="piqe", seed=3, headers=WAIT).json()
    assert job["kind"] == "score"
    assert job["result"]["image_url"] is None
    [score] = job["result"]["scores"]
    assert {"metric", "higher_is_better", "range", "original", "defended", "shift", "samples"} <= set(score)
    assert score["metric"] == "piqe"
    assert score["higher_is_better"] is False
    assert score["range"] == [0, 100]
    assert 0 <= score["original"] <= 100
    assert job["defense"]["name"] == "jpeg"
    assert job["defense"]["quality"] == 50


def test_a_metric_may_be_asked_for_by_its_qualified_name_and_keeps_it(order):
    pytest.importorskip("pyiqa")
    scores = order("/score", metrics="entropy, pyiqa:entropy", headers=WAIT).json()["result"]["scores"]
    assert [score["metric"] for score in scores] == ["entropy", "pyiqa:entropy"]
    assert scores[0]["original"] == scores[1]["original"]


def test_several_samples_give_the_median_over_independent_seeds(order):
    def defended(seed, samples):
        job = order(
            "/score", defense='{"name": "random-noise", "sigma": 0.1}', samples=samples, seed=seed, headers=WAIT
        )
        [score] = job.json()["result"]["scores"]
        assert score["samples"] == samples
        return score["defended"]

    from models.noise import derive_seed

    single = [defended(derive_seed(9, index), 1) for index in range(3)]
    assert len(set(single)) == 3
    assert defended(9, 3) == sorted(single)[1]


def test_without_a_defense_field_the_default_is_used_and_named(order):
    job = order("/score", headers=WAIT).json()
    assert job["defense"]["name"] == "diffpure"


def test_scoring_without_a_metric_is_refused(order):
    answer = order("/score", metrics="")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "metrics"


def test_a_score_has_no_image(client, order):
    job = order("/score", headers=WAIT).json()
    answer = client.get(f"{job['links']['self']}/image")
    assert answer.status_code == 404
    assert answer.json()["code"] == "no-image"


def test_an_image_that_a_metric_is_not_defined_for_fails_with_the_way_to_everything_else(order):
    flat = cv2.imencode(".png", np.full((100, 100, 3), 90, np.uint8))[1].tobytes()
    job = order("/score", image=flat, defense="none", metrics="piqe,niqe", headers=WAIT).json()
    assert job["status"] == "failed"
    assert (job["error"]["code"], job["error"]["status"]) == ("metric-failed", 422)
    assert job["error"]["detail"] == (
        "niqe is not defined for this image: no block of 96x96 pixels has texture at both sizes. "
        "This is about the original image. Leave out niqe to get everything else."
    )
    again = order("/score", image=flat, defense="none", metrics="piqe", headers=WAIT).json()
    assert [score["original"] for score in again["result"]["scores"]] == [100]


def test_a_metric_without_weights_is_refused_at_submission_with_what_to_do(order):
    pytest.importorskip("pyiqa")
    answer = order("/score", metrics="musiq")
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["code"] == "metric-unavailable"
    assert "musiq_koniq" in problem["detail"]
    assert problem["errors"][0]["field"] == "metrics"
