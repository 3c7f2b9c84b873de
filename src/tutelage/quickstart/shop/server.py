"""The shop's MCP server: five tools, over stdio for one world or over HTTP for many at once.

Results are one short line a thing and schemas carry no titles: a small student reads every token of them in every row.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import ToolAnnotations
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tutelage.errors import TutelageError
from tutelage.quickstart.shop.database import Shop, ShopError
from tutelage.world import ROOT_VARIABLE, WORLD_HEADER, WORLD_VARIABLE

READ_ONLY = {"search", "show"}
AnyContext = Context[Any, Any]
Result = TypeVar("Result")
Locate = Callable[[AnyContext], Path]  # the folder of the world that a request belongs to

WORLD_ID = re.compile(r"[0-9a-f]{1,64}")
DESCRIPTIONS = {
    "search": "Find products, cheapest first.",
    "show": "Show a product or order.",
    "draft": "Draft an order.",
    "place": "Place a draft.",
    "cancel": "Cancel an order.",
}


def http_app(root: Path) -> Starlette:
    """The app that serves every world under `root`; a request names its world by id in the header."""

    def locate(context: AnyContext) -> Path:
        id = (context.headers or {}).get(WORLD_HEADER, "")
        if not WORLD_ID.fullmatch(id) or not (root / id).is_dir():
            raise ToolError(f"no world {id!r}" if id else f"the header {WORLD_HEADER} is missing")
        return root / id

    server = make_server(locate)

    @server.custom_route("/health", methods=["GET"])  # type: ignore[untyped-decorator]
    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    # No session is kept between requests: the world's id comes with each of them, so nothing grows with their number.
    return server.streamable_http_app(stateless_http=True, json_response=True)


def run_http(port: int) -> None:
    """Serve the worlds under $TUTELAGE_WORLDS on 127.0.0.1 until the process is ended."""
    import uvicorn

    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        raise TutelageError(f"{ROOT_VARIABLE} is not set. Set it to the folder that holds the worlds.")
    uvicorn.run(http_app(Path(root)), host="127.0.0.1", port=port, log_level="warning")


def run_stdio() -> None:
    """Serve the world in $TUTELAGE_WORLD on standard input and output."""
    folder = os.environ.get(WORLD_VARIABLE)
    if not folder:
        raise TutelageError(f"{WORLD_VARIABLE} is not set. Set it to the folder of the world.")
    make_server(lambda _: Path(folder)).run("stdio")


def make_server(locate: Locate) -> MCPServer[Any]:
    tools = ShopTools(locate)
    return MCPServer(
        "shop",
        tools=[_tool(getattr(tools, name), description) for name, description in DESCRIPTIONS.items()],
        log_level="WARNING",
    )


class ShopTools:
    """The tools, each a line or a few of text."""

    def __init__(self, locate: Locate) -> None:
        self.locate = locate

    def search(self, query: str, context: AnyContext) -> str:
        found = self._call(context, lambda shop: shop.search(query))
        return "\n".join(f"{product.id} {product.name} ${product.price}" for product in found) or "nothing found"

    def show(self, id: str, context: AnyContext) -> str:
        if id.upper().startswith("R"):
            order = self._call(context, lambda shop: shop.order(id))
            return f"{order.id} for {order.customer} status={order.status}"
        product = self._call(context, lambda shop: shop.product(id))
        return f"{product.id} stock={product.stock} warranty={product.warranty} months origin={product.origin}"

    def draft(self, product: str, quantity: int, customer: str, context: AnyContext) -> str:
        draft = self._call(context, lambda shop: shop.draft(product, quantity, customer))
        id, total = draft.order.id, draft.order.total
        if draft.verdict == "not enough stock":
            return f"{id} stock={draft.stock} verdict={draft.verdict}"
        if draft.verdict == "over budget":
            return f"{id} total={total} budget={draft.budget} verdict={draft.verdict}"
        return f"{id} total={total} verdict={draft.verdict}"

    def place(self, order: str, context: AnyContext) -> str:
        return f"{self._call(context, lambda shop: shop.place(order)).id} placed"

    def cancel(self, order: str, context: AnyContext) -> str:
        return f"{self._call(context, lambda shop: shop.cancel(order)).id} cancelled"

    def _call(self, context: AnyContext, act: Callable[[Shop], Result]) -> Result:
        try:
            return act(Shop(self.locate(context)))
        except ShopError as error:
            raise ToolError(str(error)) from None


def _tool(function: Callable[..., str], description: str) -> Tool:
    annotations = ToolAnnotations(read_only_hint=function.__name__ in READ_ONLY)
    tool = Tool.from_function(function, description=description, structured_output=False, annotations=annotations)
    tool.parameters = {
        "type": "object",
        "properties": {name: {"type": schema["type"]} for name, schema in tool.parameters["properties"].items()},
        "required": tool.parameters["required"],
    }
    return tool
