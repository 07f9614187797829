"""Whatever fits the OpenAPI document, and whatever nearly does: no 5xx, and no answer that it does not describe."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from app.main import create_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPERATIONS = [
    "purify", "score", "attack", "list_jobs", "get_job", "get_image", "get_webhook", "follow_job", "cancel_job", "delete_job",
    "get_batch", "cancel_batch", "delete_batch", "list_defenses", "list_attacks", "list_metrics", "livez", "readyz", "prometheus",
]  # fmt: skip
# Not checked: that all that fits the schema is accepted. No schema says which bytes are an image of at least 16 pixels.
WAIT = {"Prefer": "wait=5"}
ORDERS = ("purify", "score", "attack")
CHEAP = ["none", "jpeg(quality=5)", "flip+jpeg", '{"name": "jpeg", "quality": 5}', '{"name": "median-blur"}']


@pytest.fixture(scope="module")
def api(shared_service):
    """The document, as an app with a real broker, store and worker, and with attacks, gives it."""
    app = create_app(shared_service.model_copy(update={"attacks": True}))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.fixture(scope="module")
def operations(api):
    found = [result.ok() for result in api.get_all_operations()]
    return {operation.definition.raw["operationId"]: operation for operation in found}


def test_every_operation_is_tried(operations):
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize(("name", "mode"), [
    *((name, GenerationMode.POSITIVE) for name in OPERATIONS),
    *((name, GenerationMode.NEGATIVE) for name in ORDERS),  # the others take nothing that could be wrong
])  # fmt: skip
def test_every_answer_is_described_and_none_is_a_failure(operations, client, photo_png, name, mode):
    operation, seen = operations[name], set()
    unchecked = [positive_data_acceptance]
    if mode is GenerationMode.POSITIVE:
        unchecked.append(negative_data_rejection)  # a body that is exchanged for a good one counts as negative

    @bounds(
        max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), good=st.booleans(), defense=st.sampled_from(CHEAP))
    def check(case, good, defense):
        if isinstance(case.body, dict) and good and mode is GenerationMode.POSITIVE:  # get past the door
            rest = {"attack": "fgsm", "metric": "fr-surrogate"} if name == "attack" else {"metrics": "piqe"}
            case.body = {key: value for key, value in case.body.items() if key in ("seed", "samples", "format")}
            case.body |= {"image": [photo_png], "defense": defense, **rest}
        elif good and (place := {"job_id", "batch_id"} & set(case.path_parameters or {})):
            images = [("image", photo_png)] * (2 if "batch_id" in place else 1)
            sent = client.post("/purify", files=images, data={"defense": "none", "metrics": ""}, headers=WAIT)
            case.path_parameters[place.pop()] = sent.json()["id"]
        seen.add(case.call_and_validate(excluded_checks=unchecked).status_code)

    check()
    print(name, mode, sorted(seen))
    assert not [status for status in seen if status >= 500]
    if name in ORDERS and mode is GenerationMode.POSITIVE:
        assert seen & {200, 202}, "none got past the door"


def test_with_keys_every_answer_is_described_too(settings, photo_png):
    from app.guard.keys import new_key, write_file

    key, stored = new_key("fuzz")
    write_file(settings.keys_file, [stored])
    api = schemathesis.openapi.from_asgi("/openapi.json", create_app(settings))
    for result in api.exclude(operation_id="readyz").get_all_operations():  # without a worker: 503
        sent = st.sampled_from([{}, {"X-API-Key": key}, {"Authorization": "Bearer nonsense"}])

        @bounds(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(case=result.ok().as_strategy(), headers=sent)
        def check(case, headers):
            case.call_and_validate(headers=headers, excluded_checks=[ignored_auth, positive_data_acceptance])

        check()
