"""Our client as the conformance suite runs it: connects to the server at the last argument, calls each of its tools.

As whom it signs in stands in MCP_CONFORMANCE_CONTEXT; a person who agrees to everything is played by following the
page's redirects, and by typing yes to `tutelage chat`'s questions and leaving each field as it is.
"""

import asyncio
import builtins
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
from mcp_types import ElicitRequestParams, ElicitResult

from tutelage.agent.servers import connect_servers
from tutelage.cli.questions import answer
from tutelage.settings import McpServer, OAuthClient
from tutelage.world import World

ARGUMENTS = {"add_numbers": {"a": 5, "b": 3}}
CLIENT_METADATA = "https://conformance-test.local/client-metadata.json"  # the suite's name for the page


async def agree(page: str) -> None:
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False) as browser:
        (await browser.get(page)).raise_for_status()


async def elicit(server: str, asked: ElicitRequestParams) -> ElicitResult:
    return answer(server, asked)


async def client(url: str, context: dict[str, Any]) -> OAuthClient:
    known = {"client_id": context.get("client_id"), "client_secret": context.get("client_secret")}
    if context.get("name") == "auth/client-credentials-basic":
        async with httpx2.AsyncClient(trust_env=False) as http:
            about = await http.get(url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))
        return OAuthClient(**known, grant="client_credentials", issuer=about.json()["authorization_servers"][0])
    return OAuthClient(**known, client_metadata_url=CLIENT_METADATA)


async def main(url: str, folder: Path) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    server = McpServer(url=url, oauth=await client(url, context))
    async with connect_servers({"s": server}, World("w", folder), open_page=agree, elicit=elicit) as servers:
        for tool in servers.tools:
            print(await servers.call(tool.name, ARGUMENTS.get(tool.name, {})))


if __name__ == "__main__":
    builtins.input = lambda prompt="": "y" if "[y/N]" in str(prompt) else ""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        asyncio.run(main(sys.argv[-1], Path(folder)))
