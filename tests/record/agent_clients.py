"""Agents of other makers, written as their own examples are; each gives what its client saw.

Each asks a talk's questions in one conversation over the endpoint at `url`, and looks when the model asks it to. A talk
may have begun elsewhere: then the model first answers that.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

KEY = "sk-test-4f9a8b7c6d5e4f3a2b1c"
Seen = list[tuple[str, str, list[tuple[str, Any]]]]  # role, text, calls: each a name and its arguments


def look(what: str) -> str:
    """Look at something."""
    return f"seen: {what}"


class Begun(NamedTuple):
    """A question, and the thing that was looked at."""

    question: str
    what: str

    @property
    def arguments(self) -> str:
        return json.dumps({"what": self.what})


@dataclass(frozen=True)
class Talk:
    """What an agent is made of but for its client."""

    prompt: str = "You look."
    questions: tuple[str, ...] = ("What does the lamp cost?", "Are you sure?")
    tokens: int | None = None  # of an answer at most, and the likeliest ones; None: as the endpoint will
    begun: Begun | None = None  # what was asked and looked at before; to be answered first

    @property
    def asked(self) -> tuple[str | None, ...]:
        """The questions, after None for what was begun."""
        return (None, *self.questions) if self.begun else self.questions

    def few(self, name: str = "max_tokens") -> dict[str, Any]:
        return {name: self.tokens, "temperature": 0} if self.tokens else {}


LOOK: dict[str, Any] = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
TOOL = {"type": "function", "function": {"name": "look", "description": "Look at something.", "parameters": LOOK}}


def openai_messages(url: str, talk: Talk, *, stream: bool) -> list[Any]:
    """The messages of chat completions, as they were sent and seen."""
    import openai

    messages: list[Any] = [{"role": "system", "content": talk.prompt}]
    if talk.begun:
        function = {"name": "look", "arguments": talk.begun.arguments}
        messages += [
            {"role": "user", "content": talk.begun.question},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c0", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "c0", "content": look(talk.begun.what)},
        ]
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for question in talk.asked:
            messages += [{"role": "user", "content": question}] if question else []
            while messages[-1]["role"] != "assistant":
                given: dict[str, Any] = {"model": "scripted", "messages": messages, "tools": [TOOL], **talk.few()}
                if stream:
                    with client.chat.completions.stream(**given) as events:
                        for _ in events:
                            pass
                        # Not the final completion: that raises where the model was cut short.
                        answer: Any = events.current_completion_snapshot.choices[0].message
                else:
                    answer = client.chat.completions.create(**given).choices[0].message
                messages.append(answer.model_dump(exclude_none=True, exclude={"parsed"}))
                for call in answer.tool_calls or ():
                    result = look(**json.loads(call.function.arguments))
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return messages


def openai_chat(url: str, talk: Talk, *, stream: bool) -> Seen:
    messages = openai_messages(url, talk, stream=stream)
    return [
        (
            message["role"],
            message.get("content") or "",
            [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls") or ()],
        )
        for message in messages[1:]
    ]


def anthropic_sdk(url: str, talk: Talk, *, stream: bool) -> Seen:
    import anthropic

    tool: Any = {"name": "look", "description": "Look at something.", "input_schema": LOOK}
    messages: list[Any] = []
    saw: Seen = []
    client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=KEY, max_retries=0)
    if talk.begun:
        question, arguments, result = talk.begun.question, json.loads(talk.begun.arguments), look(talk.begun.what)
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c0", "name": "look", "input": arguments}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0", "content": result}]},
        ]
        saw += [("user", question, []), ("assistant", "", [("look", arguments)]), ("tool", result, [])]
    for asked in talk.asked:
        if asked:
            messages.append({"role": "user", "content": asked})
            saw.append(("user", asked, []))
        while True:
            given: dict[str, Any] = {"model": "scripted", "max_tokens": talk.tokens or 100}
            given |= {"system": talk.prompt, "tools": [tool], "messages": messages}
            if stream:
                with client.messages.stream(**given) as events:
                    answer = events.get_final_message()
            else:
                answer = client.messages.create(**given)
            text = "".join(block.text for block in answer.content if block.type == "text")
            calls = [block for block in answer.content if block.type == "tool_use"]
            saw.append(("assistant", text, [(call.name, call.input) for call in calls]))
            messages.append({"role": "assistant", "content": answer.content})
            if not calls:
                break
            results = [(call.id, look(call.input["what"])) for call in calls]
            saw += [("tool", result, []) for _, result in results]
            blocks = [{"type": "tool_result", "tool_use_id": id, "content": result} for id, result in results]
            messages.append({"role": "user", "content": blocks})
    return saw


def openai_responses(url: str, talk: Talk, *, stream: bool, kept: bool = False) -> Seen:
    """`kept`: the server keeps the history."""
    import openai

    tool: Any = {
        "type": "function",
        "name": "look",
        "description": "Look.",
        "parameters": LOOK,
        "strict": False,
    }
    history: list[Any] = []
    previous: Any = openai.omit
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for question in talk.asked:
            new: list[Any] = [{"role": "user", "content": question}] if question else begun_items(talk)
            while new:
                history += new
                given: dict[str, Any] = {"model": "scripted", "instructions": talk.prompt, "tools": [tool]}
                given |= {"input": new, "previous_response_id": previous} if kept else {"input": history}
                given |= talk.few("max_output_tokens")
                if stream:
                    with client.responses.stream(**given) as events:
                        for _ in events:
                            pass
                        response: Any = events.get_final_response()
                else:
                    response = client.responses.create(**given)
                history += [item.to_dict() for item in response.output]
                new = [
                    {
                        "type": "function_call_output",
                        "call_id": item.call_id,
                        "output": look(**json.loads(item.arguments)),
                    }
                    for item in response.output
                    if item.type == "function_call"
                ]
                previous = response.id
    return of_items(history)


async def openai_agents(url: str, talk: Talk, *, stream: bool, api: str = "chat", kept: bool = False) -> Seen:
    """`api`: chat or responses; `kept`: the server keeps the history."""
    import agents
    import openai

    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)
    chosen: Any = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
    agent = agents.Agent(
        name="looker",
        instructions=talk.prompt,
        model=chosen(model="scripted", openai_client=client),
        model_settings=agents.ModelSettings(**talk.few()),
        tools=[agents.function_tool(look)],
    )
    history: list[Any] = []
    names: dict[str, Any] = {"auto_previous_response_id": True} if kept else {}
    for question in talk.asked:
        new: Any = [{"role": "user", "content": question}] if question else begun_items(talk)
        asked = new if kept else [*history, *new]
        if stream:
            result: Any = agents.Runner.run_streamed(agent, asked, **names)
            async for _ in result.stream_events():
                pass
        else:
            result = await agents.Runner.run(agent, asked, **names)
        history = [*history, *result.to_input_list()] if kept else result.to_input_list()
        names = {"previous_response_id": result.last_response_id} if kept else {}
    await client.close()
    return of_items(history)


async def pydantic_ai(url: str, talk: Talk, *, stream: bool, api: str = "openai") -> Seen:
    """`api`: openai or anthropic."""
    from pydantic_ai import Agent, ModelSettings
    from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    async def read_events(_context: Any, events: Any) -> None:
        async for _ in events:
            pass

    model: Any
    if api == "openai":
        model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key=KEY))
    else:
        model = AnthropicModel("scripted", provider=AnthropicProvider(base_url=url.removesuffix("/v1"), api_key=KEY))
    agent = Agent(
        model,
        instructions=talk.prompt,
        tools=[look],
        model_settings=ModelSettings(**talk.few()),
    )
    messages: list[Any] = []
    if talk.begun:
        messages = [
            ModelRequest([UserPromptPart(talk.begun.question)]),
            ModelResponse([ToolCallPart("look", talk.begun.arguments, tool_call_id="c0")]),
            ModelRequest([ToolReturnPart("look", look(talk.begun.what), tool_call_id="c0")]),
        ]
    for question in talk.asked:
        handler = read_events if stream else None  # with one, pydantic-ai streams
        result = await agent.run(question, message_history=messages, event_stream_handler=handler)
        messages = result.all_messages()
    saw: Seen = []
    for message in messages:
        answer: tuple[str, str, list[tuple[str, Any]]] = ("assistant", "", [])
        for part in message.parts:
            if part.part_kind == "user-prompt":
                saw.append(("user", part.content, []))
            elif part.part_kind == "tool-return":
                saw.append(("tool", part.content, []))
            elif part.part_kind == "text":
                answer = ("assistant", answer[1] + part.content, answer[2])
            elif part.part_kind == "tool-call":
                answer[2].append((part.tool_name, part.args_as_dict()))
        if message.kind == "response":
            saw.append(answer)
    return saw


def langgraph(url: str, talk: Talk, *, stream: bool) -> Seen:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    model: Any = ChatOpenAI(model="scripted", base_url=url, api_key=KEY, streaming=stream, **talk.few())  # type: ignore[arg-type]
    tools = [tool(look)]

    def answer(state: MessagesState) -> Any:
        asked = [SystemMessage(talk.prompt), *state["messages"]]
        return {"messages": [model.bind_tools(tools).invoke(asked)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", answer)
    graph.add_node("tools", ToolNode(tools))
    graph.set_entry_point("model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    agent = graph.compile()
    messages: list[Any] = []
    if talk.begun:
        call = {"id": "c0", "name": "look", "args": json.loads(talk.begun.arguments)}
        result = ToolMessage(look(talk.begun.what), tool_call_id="c0")
        messages = [HumanMessage(talk.begun.question), AIMessage("", tool_calls=[call]), result]
    for question in talk.asked:
        new = [HumanMessage(question)] if question else []
        messages = agent.invoke({"messages": [*messages, *new]})["messages"]
    roles = {"human": "user", "ai": "assistant", "tool": "tool"}
    return [
        (roles[message.type], message.text, [(c["name"], c["args"]) for c in getattr(message, "tool_calls", ())])
        for message in messages
    ]


def begun_items(talk: Talk) -> list[Any]:
    assert talk.begun
    return [
        {"role": "user", "content": talk.begun.question},
        {"type": "function_call", "call_id": "c0", "name": "look", "arguments": talk.begun.arguments},
        {"type": "function_call_output", "call_id": "c0", "output": look(talk.begun.what)},
    ]


def of_items(items: Sequence[Any]) -> Seen:
    """Items of the Responses API; those of an assistant that follow each other are one message."""
    saw: Seen = []
    for item in items:
        kind = item.get("type")
        if kind == "function_call":
            call = (item["name"], json.loads(item["arguments"]))
            if saw[-1][0] == "assistant":
                saw[-1][2].append(call)
            else:
                saw.append(("assistant", "", [call]))
        elif kind == "function_call_output":
            saw.append(("tool", item["output"], []))
        elif kind != "reasoning":
            content = item["content"]
            text = content if isinstance(content, str) else "".join(part["text"] for part in content)
            saw.append((item["role"], text, []))
    return saw
