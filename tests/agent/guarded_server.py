"""A small MCP server behind OAuth, with its own authorization server: the SDK's, over a memory of what it gave out.

`python guarded_server.py PORT SECONDS`: access tokens are good for so long; a refresh token is good once.
"""

import secrets
import sys
import time
from typing import Any

from mcp.server import MCPServer
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl

SCOPE = "notes"


class Memory(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """Everybody who asks is let in."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.refreshed = 0

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        code = secrets.token_hex()
        self.codes[code] = AuthorizationCode(
            code=code,
            scopes=params.scopes or [SCOPE],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._tokens(client, authorization_code.scopes)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh[refresh_token.token]
        self.refreshed += 1
        return self._tokens(client, scopes)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.pop(token.token, None)

    def _tokens(self, client: OAuthClientInformationFull, scopes: list[str]) -> OAuthToken:
        token, again = secrets.token_hex(), secrets.token_hex()
        expires = int(time.time()) + self.seconds
        self.access[token] = AccessToken(token=token, client_id=client.client_id, scopes=scopes, expires_at=expires)
        self.refresh[again] = RefreshToken(token=again, client_id=client.client_id, scopes=scopes)
        return OAuthToken(access_token=token, expires_in=self.seconds, refresh_token=again, scope=" ".join(scopes))


def main(port: int, seconds: int) -> None:
    memory = Memory(seconds)
    here = AnyHttpUrl(f"http://127.0.0.1:{port}")
    registration = ClientRegistrationOptions(enabled=True, valid_scopes=[SCOPE], default_scopes=[SCOPE])
    auth: Any = AuthSettings(
        issuer_url=here,
        resource_server_url=AnyHttpUrl(f"{here}mcp"),
        required_scopes=[SCOPE],
        client_registration_options=registration,
    )
    app = MCPServer("guarded", auth_server_provider=memory, auth=auth)

    @app.tool(structured_output=False)
    def refreshed() -> str:
        """How often tokens were refreshed."""
        return str(memory.refreshed)

    @app.tool(structured_output=False)
    def forget(everything: bool = False) -> str:
        """All access tokens; the refresh tokens too."""
        memory.access.clear()
        if everything:
            memory.refresh.clear()
        return "forgotten"

    app.run("streamable-http", host="127.0.0.1", port=port, json_response=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
