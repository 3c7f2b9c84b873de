"""The API families that agents speak: what a request and its answer say, as messages and tools.

A dialect is a module with `read(request, response)`, which gives an Exchange, and `Stream`, which makes the events of
a streamed answer into the response that would have come unstreamed. `chat` is OpenAI's chat completions, `responses`
its Responses API, `anthropic` Anthropic's Messages API.
"""

from tutelage.dialect.exchange import Answer, Exchange, Progress, Unreadable

__all__ = ["Answer", "Exchange", "Progress", "Unreadable"]
