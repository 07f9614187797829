import pytest


@pytest.fixture
def submit(photo_png):
    """Send an order."""

    def send(client, headers=None, path="/purify", **fields):
        data = {"defense": "jpeg", "metrics": "" if path == "/purify" else "piqe", **fields}
        return client.post(path, files={"image": photo_png}, data=data, headers=headers or {})

    return send
