"""What the tests of the pages share."""

import re
from typing import Any

from starlette.testclient import TestClient


def token(client: TestClient) -> str:
    found = re.search(r'data-token="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def post(client: TestClient, url: str, **fields: Any) -> Any:
    """As a form of ours sends it."""
    return client.post(url, data={"token": token(client), **fields})
