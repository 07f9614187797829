import pytest
from starlette.testclient import TestClient

from app.main import create_app


@pytest.fixture(scope="session")
def client(shared_service):
    """A client of the app, with a real broker, store and worker behind it."""
    with TestClient(create_app(shared_service), raise_server_exceptions=False) as client:
        yield client
