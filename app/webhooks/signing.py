"""The secrets that webhooks are signed with, in the form of standard-webhooks."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from app.settings import Settings

PREFIX = "whsec_"
_SIZES = range(24, 65)


class WebhookSecretError(ValueError):
    """A webhook secret cannot be used."""


def read_secrets(settings: Settings) -> list[Webhook]:
    """Return the operator's secrets, newest first; none: webhooks are off. Raises WebhookSecretError."""
    text = settings.webhook_secret.get_secret_value()
    if settings.webhook_secret_file is not None:
        try:
            text = settings.webhook_secret_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = error if isinstance(error, OSError) else f"{settings.webhook_secret_file} is not text"
            raise WebhookSecretError(f"PURIFIQA_WEBHOOK_SECRET_FILE cannot be read: {why}") from error
        if not text.strip():
            raise WebhookSecretError(f"PURIFIQA_WEBHOOK_SECRET_FILE: {settings.webhook_secret_file} is empty")
    variable = "PURIFIQA_WEBHOOK_SECRET" + ("" if settings.webhook_secret_file is None else "_FILE")
    return [_signer(secret, variable) for secret in text.split()]


def _signer(secret: str, variable: str) -> Webhook:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _SIZES:
        cure = 'make one: echo "whsec_$(openssl rand -base64 32)"'
        raise WebhookSecretError(f"{variable}: a webhook secret must be whsec_ and base64 of 24 to 64 bytes; {cure}")
    return Webhook(key)


def signed_headers(secrets: Sequence[Webhook], message_id: str, moment: datetime, body: str) -> dict[str, str]:
    """Return the headers that prove who sent a body, when, and that nobody changed it: one signature per secret."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(secret.sign(message_id, moment, body) for secret in secrets),
    }
