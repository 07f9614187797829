"""The secrets that webhooks are signed with: where they come from, what they must be, and how they are rotated."""

import base64

import pytest
from standardwebhooks import Webhook
from starlette.testclient import TestClient
from webhook_receiver import OLD_SECRET, SECRET, Receiver, order_and_end

from app.main import create_app
from app.settings import Settings
from app.webhooks.signing import WebhookSecretError, read_secrets


def of_bytes(size):
    return "whsec_" + base64.b64encode(bytes(size)).decode()


def test_a_rotated_secret_signs_beside_the_new_one(hooked, photo_png):
    both = hooked.model_copy(update={"webhook_secret": type(hooked.webhook_secret)(f"{SECRET} {OLD_SECRET}")})
    with Receiver(200) as receiver, TestClient(create_app(both)) as client:
        order_and_end(client, photo_png, f"http://127.0.0.1:{receiver.port}/")
        [message] = receiver.wait_for(1)
    for secret in (SECRET, OLD_SECRET):
        assert Webhook(secret).verify(message.body, message.headers)["type"] == "job.canceled"


def test_without_a_secret_a_webhook_is_refused_with_what_is_missing(order):
    answer = order(webhook="https://example.org/")
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["field"] == "webhook"
    assert "PURIFIQA_WEBHOOK_SECRET" in answer.json()["detail"]


@pytest.mark.parametrize(
    "secret",
    ["short", "whsec_c2hvcnQ=", of_bytes(23), of_bytes(65), "whsec_#", f"{SECRET},{SECRET}", f"{SECRET} short"],
)
def test_a_weak_or_broken_secret_stops_the_service_at_its_start(settings, secret):
    with pytest.raises(WebhookSecretError, match="openssl rand"):
        create_app(Settings(webhook_secret=secret))


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_may_have_from_24_to_64_bytes(size):
    assert len(read_secrets(Settings(webhook_secret=of_bytes(size)))) == 1


def test_a_secret_may_be_in_a_file_that_must_hold_one(settings, tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert len(read_secrets(Settings(webhook_secret_file=file))) == 1
    file.write_text("\n")
    for wrong in (file, tmp_path / "missing"):
        with pytest.raises(WebhookSecretError, match="PURIFIQA_WEBHOOK_SECRET_FILE"):
            read_secrets(Settings(webhook_secret_file=wrong))


def test_no_secret_is_ever_shown(settings):
    assert SECRET not in repr(Settings(webhook_secret=SECRET))
