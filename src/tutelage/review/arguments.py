"""Whether the calls of an edit fit their tools."""

from collections.abc import Sequence

from tutelage.agent.arguments import fault
from tutelage.errors import TutelageError
from tutelage.trace import Message, Tool


def check_changed_calls(before: Sequence[Message], after: Sequence[Message], tools: Sequence[Tool]) -> None:
    """Raises TutelageError for the first call that is new in `after` and does not fit its tool."""
    known = {(call.name, call.arguments) for message in before for call in message.tool_calls}
    for number, message in enumerate(after, 1):
        for call in message.tool_calls:
            if (call.name, call.arguments) in known:
                continue
            wrong = fault(tools, call.name, call.arguments)
            if wrong:
                raise TutelageError(f'Message {number}, call of "{call.name}": {wrong}')
