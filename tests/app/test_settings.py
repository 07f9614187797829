"""What an operator sets wrongly is told by the variable's name, without its secrets."""

import pytest
from pydantic import ValidationError

from app.cli.options import in_words
from app.settings import CI_CACHE, Settings, unknown_variables


def test_a_misspelled_setting_is_told_with_the_one_that_was_meant():
    names = ["PURIFIQA_MAX_PIXEL", "PURIFIQA_MAX_PIXELS", "PURIFIQA_XYZZY", CI_CACHE, "HOME"]
    assert unknown_variables(names) == [
        "there is no setting PURIFIQA_MAX_PIXEL; did you mean PURIFIQA_MAX_PIXELS?",
        "there is no setting PURIFIQA_XYZZY",
    ]


def test_wrong_settings_are_told_by_their_variables_and_secrets_are_not_repeated(monkeypatch):
    monkeypatch.setenv("PURIFIQA_MAX_BYTES", "5")
    monkeypatch.setenv("PURIFIQA_PORT", "http")
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secret=["hunter2"])
    told = in_words(caught.value)
    assert "PURIFIQA_MAX_BYTES: Input should be greater than or equal to 1000; it is '5'" in told
    assert "PURIFIQA_PORT: " in told
    assert "PURIFIQA_WEBHOOK_SECRET: Input should be a valid string" in told
    assert "hunter2" not in told
    assert "errors.pydantic.dev" not in told
