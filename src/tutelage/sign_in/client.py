"""A client that signs in as itself, with its own secret: no person is needed."""

import httpx2
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from tutelage.errors import TutelageError
from tutelage.redact import note_secret
from tutelage.settings import OAuthClient


def of_the_client(url: str, client: OAuthClient) -> httpx2.Auth:
    """Raises TutelageError where it does not say who it is and whom it may tell."""
    from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

    if not (client.client_id and client.client_secret and client.issuer):
        raise TutelageError(
            f'mcp.json: {url}: "grant": "client_credentials" needs "clientId", "clientSecret" and "issuer", the URL of '
            "the server that may be shown them."
        )
    return ClientCredentialsOAuthProvider(url, _Memory(), client.client_id, client.client_secret, issuer=client.issuer)


class _Memory:
    """The SDK's TokenStorage for as long as a connection is open: another token is to be had at any time."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        note_secret(tokens.access_token)
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info
