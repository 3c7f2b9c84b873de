"""`python -m tutelage.quickstart.shop --http --port PORT` or `--stdio`."""

import argparse
import sys

from tutelage.errors import TutelageError
from tutelage.quickstart.shop.server import run_http, run_stdio


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tutelage.quickstart.shop", description="The example shop over MCP."
    )
    transport = parser.add_mutually_exclusive_group(required=True)
    transport.add_argument("--http", action="store_true", help="serve every world under $TUTELAGE_WORLDS")
    transport.add_argument("--stdio", action="store_true", help="serve the world in $TUTELAGE_WORLD")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    try:
        run_http(arguments.port) if arguments.http else run_stdio()
    except TutelageError as error:
        print(f"tutelage: {error}", file=sys.stderr)
        sys.exit(2)


main()
