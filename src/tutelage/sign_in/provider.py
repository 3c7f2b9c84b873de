"""The SDK's OAuth client, over what is kept."""

from collections.abc import Awaitable, Callable

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tutelage.settings import OAuthClient
from tutelage.sign_in.kept import Kept, SignIn

NAME = "Tutelage"  # what the server's page shows
NOWHERE = "http://127.0.0.1/callback"  # where nobody is sent

OpenPage = Callable[[str], Awaitable[None]]  # shows a person the page at a URL
Answer = Callable[[], Awaitable[AuthorizationCodeResult]]  # what the browser brings back


class Provider(OAuthClientProvider):
    """Remembers when the token runs out and where to refresh it, which the SDK's own forgets with its process.

    Without `open_page` and `answer` it can only refresh.
    """

    def __init__(
        self,
        kept: Kept,
        client: OAuthClient,
        redirect: str = NOWHERE,
        open_page: OpenPage | None = None,
        answer: Answer | None = None,
    ) -> None:
        self._kept = kept
        storage = _Storage(kept, client, redirect)
        super().__init__(
            kept.url,
            OAuthClientMetadata(redirect_uris=[AnyUrl(redirect)], client_name=NAME),
            storage,
            open_page,
            answer,
            client.client_metadata_url,
        )
        storage.context = self.context

    async def refresh(self, http: httpx2.AsyncClient) -> None:
        """Get new tokens for the kept ones and keep them, if the server gives any without a person.

        Raises httpx2.HTTPError where it cannot be asked.
        """
        await self._initialize()
        if self.context.can_refresh_token():
            response = await http.send(await self._refresh_token())
            if response.status_code == httpx2.codes.TOO_MANY_REQUESTS or response.status_code >= 500:
                response.raise_for_status()
            await self._handle_refresh_response(response)

    async def _initialize(self) -> None:
        await super()._initialize()
        found = self._kept.load()
        self.context.token_expiry_time = found.expires
        self.context.oauth_metadata = found.authorization
        self.context.protected_resource_metadata = found.resource


class _Storage:
    """The SDK's TokenStorage. A registration is kept with the tokens that it led to."""

    context: OAuthContext

    def __init__(self, kept: Kept, client: OAuthClient, redirect: str) -> None:
        self.kept, self.client, self.redirect = kept, client, redirect

    async def get_tokens(self) -> OAuthToken | None:
        return self.kept.load().tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        before, context = self.kept.load(), self.context
        self.kept.save(
            SignIn(
                server=self.kept.url,
                redirect=before.redirect if self.redirect == NOWHERE else self.redirect,
                tokens=tokens,
                expires=context.token_expiry_time,
                client=context.client_info,
                authorization=context.oauth_metadata,
                resource=context.protected_resource_metadata,
            )
        )

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        if self.client.client_id:
            return OAuthClientInformationFull(
                client_id=self.client.client_id,
                client_secret=self.client.client_secret,
                token_endpoint_auth_method="client_secret_basic" if self.client.client_secret else "none",
            )
        found = self.kept.load()
        return found.client if self.redirect in (NOWHERE, found.redirect) else None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        pass
