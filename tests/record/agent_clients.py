"""Agents of other makers, written as their own examples are; each gives what its client saw.

Each asks QUESTIONS in one conversation over the endpoint at `url` and looks when the model asks it to. `made`: the
model would not ask by itself, so it is made to at the beginning of each turn, with few tokens.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

KEY = "sk-test-4f9a8b7c6d5e4f3a2b1c"
QUESTIONS = ["What does the lamp cost?", "Are you sure?"]
PROMPT = "You look."
TOKENS = 24
Seen = list[tuple[str, str, list[tuple[str, Any]]]]  # role, text, calls: each a name and its arguments


def look(what: str) -> str:
    """Look at something."""
    return f"seen: {what}"


def look_at(what: Literal["lamp", "shelf"]) -> str:
    """Look at something."""
    return f"seen: {what}"


look_at.__name__ = "look"


def schema(made: bool) -> dict[str, Any]:
    what = {"type": "string", **({"enum": ["lamp", "shelf"]} if made else {})}
    return {"type": "object", "properties": {"what": what}, "required": ["what"]}


def chat_tool(made: bool = False) -> dict[str, Any]:
    function = {"name": "look", "description": "Look at something.", "parameters": schema(made)}
    return {"type": "function", "function": function}


def openai_messages(url: str, questions: Sequence[str], *, stream: bool, made: bool = False) -> list[Any]:
    """The messages of chat completions, as they were sent and seen."""
    import openai

    messages: list[Any] = [{"role": "system", "content": PROMPT}]
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for question in questions:
            messages.append({"role": "user", "content": question})
            choice = "required" if made else "auto"
            while messages[-1]["role"] != "assistant":
                given: dict[str, Any] = {"model": "scripted", "messages": messages, "tool_choice": choice, **_few(made)}
                given["tools"] = [chat_tool(made)]
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
                choice = "none" if made else "auto"
    return messages


def openai_chat(url: str, *, stream: bool, made: bool) -> Seen:
    messages = openai_messages(url, QUESTIONS, stream=stream, made=made)
    return [
        (
            message["role"],
            message.get("content") or "",
            [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls") or ()],
        )
        for message in messages[1:]
    ]


def anthropic_sdk(url: str, *, stream: bool, made: bool) -> Seen:
    import anthropic

    tool: Any = {"name": "look", "description": "Look at something.", "input_schema": schema(made)}
    messages: list[Any] = []
    saw: Seen = []
    client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=KEY, max_retries=0)
    for question in QUESTIONS:
        messages.append({"role": "user", "content": question})
        saw.append(("user", question, []))
        choice: Any = {"type": "any"} if made else {"type": "auto"}
        while True:
            given: dict[str, Any] = {"model": "scripted", "max_tokens": TOKENS if made else 100, "system": PROMPT}
            given |= {"tools": [tool], "tool_choice": choice, "messages": messages}
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
            choice = {"type": "none"} if made else choice
    return saw


def openai_responses(url: str, *, stream: bool, made: bool, kept: bool = False) -> Seen:
    """`kept`: the server keeps the history."""
    import openai

    tool: Any = {
        "type": "function",
        "name": "look",
        "description": "Look.",
        "parameters": schema(made),
        "strict": False,
    }
    history: list[Any] = []
    previous: Any = openai.omit
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for question in QUESTIONS:
            new: list[Any] = [{"role": "user", "content": question}]
            choice = "required" if made else "auto"
            while new:
                history += new
                given: dict[str, Any] = {"model": "scripted", "instructions": PROMPT, "tools": [tool]}
                given |= {"input": new, "previous_response_id": previous} if kept else {"input": history}
                given |= {"tool_choice": choice, **({"max_output_tokens": TOKENS, "temperature": 0} if made else {})}
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
                previous, choice = response.id, "none" if made else "auto"
    return of_items(history)


async def openai_agents(url: str, *, stream: bool, made: bool, api: str = "chat", kept: bool = False) -> Seen:
    """`api`: chat or responses; `kept`: the server keeps the history."""
    import agents
    import openai

    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)
    chosen: Any = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
    few: dict[str, Any] = {"tool_choice": "required", **_few(True)} if made else {}
    agent = agents.Agent(
        name="looker",
        instructions=PROMPT,
        model=chosen(model="scripted", openai_client=client),
        model_settings=agents.ModelSettings(**few),  # it is made to look once a turn
        tools=[agents.function_tool(look_at if made else look)],
    )
    history: list[Any] = []
    names: dict[str, Any] = {"auto_previous_response_id": True} if kept else {}
    for question in QUESTIONS:
        new: Any = [{"role": "user", "content": question}]
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


async def pydantic_ai(url: str, *, stream: bool, made: bool, api: str = "openai") -> Seen:
    """`api`: openai or anthropic."""
    from pydantic_ai import Agent, Tool
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    class LooksFirst(AbstractCapability[Any]):
        def get_model_settings(self) -> Any:
            return lambda context: {"tool_choice": ["look"] if context.run_step == 1 else "none", **_few(True)}

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
        instructions=PROMPT,
        tools=[Tool(look_at if made else look)],
        capabilities=[LooksFirst()] if made else [],
    )
    messages: list[Any] = []
    for question in QUESTIONS:
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


def langgraph(url: str, *, stream: bool, made: bool) -> Seen:
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.graph import MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    few = _few(made)
    model: Any = ChatOpenAI(model="scripted", base_url=url, api_key=KEY, streaming=stream, **few)  # type: ignore[arg-type]
    tools = [tool(look_at if made else look)]

    def answer(state: MessagesState) -> Any:
        first = state["messages"][-1].type == "human"
        choice = {"tool_choice": "required" if first else "none"} if made else {}
        asked = [SystemMessage(PROMPT), *state["messages"]]
        return {"messages": [model.bind_tools(tools, **choice).invoke(asked)]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", answer)
    graph.add_node("tools", ToolNode(tools))
    graph.set_entry_point("model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    agent = graph.compile()
    messages: list[Any] = []
    for question in QUESTIONS:
        messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    roles = {"human": "user", "ai": "assistant", "tool": "tool"}
    return [
        (roles[message.type], message.text, [(c["name"], c["args"]) for c in getattr(message, "tool_calls", ())])
        for message in messages
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


def _few(made: bool) -> dict[str, Any]:
    return {"max_tokens": TOKENS, "temperature": 0} if made else {}
