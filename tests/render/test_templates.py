"""Rows for every stock template: exact, or refused with the reason."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from judge import Judge
from random_chats import TOOLS, Chat, chats, conversations
from row_check import RowCheck
from stock import CHATML, STOCK, Stock, trl_templates

from tutelage.endpoint.embedded import EmbeddedEndpoint
from tutelage.render.engine import CannotExpress, Engine, engine_tool
from tutelage.render.renderer import Renderer
from tutelage.render.student import embedded_gguf
from tutelage.render.template import Template
from tutelage.trace import Message, ToolCall

few = settings(
    deadline=None, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck), max_examples=4
)


@pytest.fixture(scope="module", params=STOCK, ids=lambda stock: stock.name)
def row_check(request: pytest.FixtureRequest) -> Iterator[RowCheck]:
    with EmbeddedEndpoint(embedded_gguf(), request.param.text, context=512, parallel=1) as endpoint:
        yield RowCheck(request.param, Judge(endpoint.url))


def test_no_row_is_inexact(row_check: RowCheck) -> None:
    """Few conversations; `python benchmarks/rows.py` checks two thousand."""

    @seed(0)
    @few
    @given(chat=conversations(), thinking=st.booleans())
    def check(chat: Chat, thinking: bool) -> None:
        assert row_check.check(chat, thinking).mismatches == []

    check()


def test_whatever_the_texts_the_prompt_is_the_engines(row_check: RowCheck) -> None:
    @seed(0)
    @few
    @given(chat=chats(), thinking=st.booleans())
    def check(chat: Chat, thinking: bool) -> None:
        for step in chat.steps():
            assert row_check.prompt_mismatches(chat.messages[:step], chat.tools, Engine.LLAMA_CPP, thinking) == []

    check()


USER = Message(role="user", content="Find a cup.")
REASONED = Message(role="assistant", content="Here.", reasoning_content="I look.")
FIRST = ToolCall(id="a", name="search", arguments='{"query": "cup", "exact": true, "limit": 3}')
SECOND = ToolCall(id="b", name="take_note", arguments='{"text": "It\'s\\nblue"}')
CALL = Message(role="assistant", tool_calls=(FIRST,))
CALLS = Message(role="assistant", tool_calls=(FIRST, SECOND))
SPOKEN = Message(role="assistant", content="I look.", tool_calls=(FIRST,))


def renderer(name: str, thinking: bool = True, engine: Engine = Engine.LLAMA_CPP) -> Renderer:
    stock = next(stock for stock in STOCK if stock.name == name)
    return Renderer(stock.tokenizer(), stock.text, thinking, engine=engine)


@pytest.mark.parametrize(
    ("name", "completion"),
    [
        ("qwen2_5", '<tool_call>\n{"name": "search", "arguments": {"query": "cup", "exact": true, "limit": 3}}\n'
                    "</tool_call><|im_end|>"),
        ("qwen3_6", "\n</think>\n\n<tool_call>\n<function=search>\n<parameter=query>\ncup\n</parameter>\n"
                    "<parameter=exact>\ntrue\n</parameter>\n<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>"
                    "<|im_end|>"),
        ("llama3_1", '{"name": "search", "parameters": {"query": "cup", "exact": true, "limit": 3}}<|eot_id|>'),
        ("gemma4_v5", '<|tool_call>call:search{exact:true,limit:3,query:<|"|>cup<|"|>}<tool_call|><|tool_response>'),
        ("glm4moe", "\n<think></think>\n<tool_call>search\n<arg_key>query</arg_key>\n<arg_value>cup</arg_value>\n"
                    "<arg_key>exact</arg_key>\n<arg_value>true</arg_value>\n<arg_key>limit</arg_key>\n"
                    "<arg_value>3</arg_value>\n</tool_call><|observation|>"),
        ("gptoss", " to=functions.search<|channel|>commentary json<|message|>"
                   '{"query": "cup", "exact": true, "limit": 3}<|call|>'),
        ("lfm2_v2", "<|tool_call_start|>[search(query='cup', exact=True, limit=3)]<|tool_call_end|><|im_end|>"),
    ],
)  # fmt: skip
def test_a_call_is_written_as_the_template_writes_it_to_its_end_of_turn(name: str, completion: str) -> None:
    assert renderer(name).completion_text((USER, CALL), TOOLS) == completion


@pytest.mark.parametrize(
    ("name", "on", "off"),
    [
        ("qwen3", "<think>\nI look.\n</think>\n\nHere.<|im_end|>", "Here.<|im_end|>"),
        ("qwen3_thinking_2507", "I look.\n</think>\n\nHere.<|im_end|>", "\n</think>\n\nHere.<|im_end|>"),
        ("qwen3_5_think", "I look.\n</think>\n\nHere.<|im_end|>", "Here.<|im_end|>"),
        ("glm4moe", "\n<think>I look.</think>\nHere.<|user|>", "\nHere.<|user|>"),
        ("lfm2_2_5", "<think>I look.</think>Here.<|im_end|>", "Here.<|im_end|>"),
    ],
)
def test_what_the_server_writes_of_a_think_block_is_prompt(name: str, on: str, off: str) -> None:
    """Opened by the generation prompt, or closed by it where thinking is off."""
    assert renderer(name, thinking=True).completion_text((USER, REASONED), ()) == on
    assert renderer(name, thinking=False).completion_text((USER, REASONED), ()) == off


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("qwen3", "<think>\n\n</think>\n\n"),
        ("qwen3_thinking_2507", "\n</think>\n\n"),
        ("qwen3_5_think", "\n</think>\n\n"),
        ("qwen3_8", "\n</think>\n\n"),
        ("glm4moe", "\n<think></think>\n"),
        ("gemma4_v5", ""),
        ("gptoss", ""),
        ("lfm2_2_5", ""),
    ],
)
def test_an_empty_think_block_may_go_without_loss_whatever_the_template_writes(name: str, block: str) -> None:
    ours = renderer(name)
    call = ToolCall(id="a", name="search", arguments='{"query": "cup"}')
    for answer in (Message(role="assistant", content="Here."), Message(role="assistant", tool_calls=(call,))):
        row = ours.row((USER, answer), TOOLS, teach_empty_thinking=False)
        taught = [id for id, weight in zip(row.input_ids, row.weights, strict=True) if weight]
        assert ours.completion_text((USER, answer), TOOLS) == block + ours.tokenizer.decode(taught)
    reasoned = REASONED.model_copy(update={"tool_calls": (call,), "content": ""})
    row = ours.row((USER, reasoned), TOOLS, teach_empty_thinking=False)
    assert all(row.weights[row.prompt_length :])


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("smollm2", CALL, "the template does not show the tools"),
        ("llama3", CALL, "the template does not show the tools"),
        ("gemma3", CALL, "the template does not show the tools"),
        ("lfm2", CALL, "the template does not write calls"),
        ("qwen2_5", REASONED, "the template does not write the answer's reasoning"),
        ("qwen3_instruct_2507", REASONED, "the template does not write the answer's reasoning"),
        ("llama3_1", CALLS, "the chat template refuses: This model only supports single tool-calls at once!"),
        ("llama3_1", SPOKEN, "the template does not write the answer's content"),
        ("gptoss", CALLS, "the template writes one call of several"),
        ("gptoss", SPOKEN, "the template writes content beside a call as if it were reasoning"),
        ("gemma4_v5", SPOKEN, "the template writes the answer's parts in another order, or twice"),
        ("qwen3_5_think", CALL, "the template writes a value so that it cannot be read back"),
        ("lfm2_2_5", CALLS, "a text argument with a quote or a line break, which the template does not escape"),
    ],
)
def test_what_a_template_cannot_express_is_refused(name: str, answer: Message, reason: str) -> None:
    with pytest.raises(CannotExpress) as refusal:
        renderer(name).row((USER, answer), TOOLS)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"query": "12"}', ""),
        ('{"limit": "12"}', "an argument that is not of its declared type"),
        ('{"query": 12}', "an argument that is not of its declared type"),
        ('{"after": "null"}', "a text argument that reads as JSON, and no schema tells it apart"),
        ('{"undeclared": "12"}', "a text argument that reads as JSON, and no schema tells it apart"),
        ('{"undeclared": "twelve"}', ""),
        ('{"a b": 1}', "an argument's name that the template's format has no way to write"),
        ('{"query": "</parameter>"}', "the answer's text holds the format's own markup"),
    ],
)
def test_where_a_text_stands_as_it_is_the_schema_must_tell_it_from_a_number(arguments: str, reason: str) -> None:
    answer = Message(role="assistant", tool_calls=(ToolCall(id="a", name="search", arguments=arguments),))
    for name in ("qwen3_6", "glm4moe"):
        try:
            renderer(name).row((USER, answer), TOOLS)
            refused = ""
        except CannotExpress as refusal:
            refused = refusal.reason
        assert refused == reason or (name == "glm4moe" and "</parameter>" in arguments)


@pytest.mark.parametrize("engine", Engine)
def test_white_space_beside_a_call_is_what_a_parser_left_of_the_format_and_makes_no_other_row(engine: Engine) -> None:
    """Our agent sends none back: an imported trace that kept it is shown as it would be served."""
    result = Message(role="tool", content="a blue cup", tool_call_id="a")
    kept = CALL.model_copy(update={"content": "\n\n"})
    ours = renderer("qwen3", engine=engine)
    assert ours.row((USER, kept), TOOLS) == ours.row((USER, CALL), TOOLS)
    assert ours.prompt_text((USER, kept, result), TOOLS) == ours.prompt_text((USER, CALL, result), TOOLS)


def test_an_answer_that_reads_as_a_call_is_refused() -> None:
    answer = Message(role="assistant", content='{"name":  "search", "parameters": {}}')
    with pytest.raises(CannotExpress, match="would be read as a call"):
        renderer("llama3_2").row((USER, answer), TOOLS)


def test_history_that_the_template_renders_otherwise_once_the_answer_follows_is_no_hindrance() -> None:
    """gpt-oss drops the reasoning beside a call as soon as a final answer stands after it; the prompt has it."""
    result = Message(role="tool", content="a blue cup", tool_call_id="a")
    thought = CALL.model_copy(update={"reasoning_content": "I search."})
    ours = renderer("gptoss")
    assert "I search." in ours.prompt_text((USER, thought, result), TOOLS)
    completion = ours.completion_text((USER, thought, result, REASONED), TOOLS)
    assert completion == (
        "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Here.<|return|>"
    )


@pytest.mark.parametrize("text", ["{{ messages.append(1) }}", "{{ messages[0].__class__.mro() }}", "{{ ''.x.y }}"])
def test_a_template_reaches_no_further_than_its_sandbox(text: str) -> None:
    with pytest.raises(CannotExpress, match="the chat template refuses"):
        Template(text).render([{"role": "user", "content": "hi"}], [], add_generation_prompt=True, thinking=True)


def test_a_template_sees_of_a_tool_what_the_engine_sends() -> None:
    template = Template("{{ tools[0].function.name }}, {{ tools[0].text is defined }}, {{ tools[0].items() | length }}")
    tool = engine_tool(TOOLS[0], Engine.LLAMA_CPP)
    assert template.render([], [tool], add_generation_prompt=True, thinking=True) == "search, False, 2"


def test_vllm_does_not_use_the_template_of_gpt_oss() -> None:
    with pytest.raises(CannotExpress, match="vLLM writes gpt-oss's prompts by rules of its own"):
        renderer("gptoss", engine=Engine.VLLM).prompt_text((USER,), ())


def test_llama_3_knows_the_date_as_its_engine_does() -> None:
    """llama.cpp names today; Transformers, and so vLLM, has Llama 3.1's own date."""
    assert "Today Date: 26 Jul 2024" in renderer("llama3_1", engine=Engine.VLLM).prompt_text((USER,), ())
    assert "Today Date: 26 Jul 2024" not in renderer("llama3_1").prompt_text((USER,), ())


def test_a_template_that_takes_arguments_as_text_gets_them_as_llama_cpp_hands_them_over() -> None:
    text = (trl_templates() / "deepseekv3.jinja").read_text(encoding="utf-8")
    special = (
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜end▁of▁sentence｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
    )
    written = ToolCall(id="a", name="search", arguments='{"query" :"cup",\n"limit":1.0}')
    messages = [
        USER,
        Message(role="assistant", tool_calls=(written,)),
        Message(role="tool", content="blue", tool_call_id="a"),
    ]
    ours = Renderer(Stock("deepseekv3", (*CHATML, *special)).tokenizer(), text)
    with EmbeddedEndpoint(embedded_gguf(), text, context=512, parallel=1) as endpoint:
        sent = [message.to_openai() for message in messages]
        assert ours.prompt_text(messages, ()) == Judge(endpoint.url).prompt(sent, [])
    assert written.arguments in ours.prompt_text(messages, ())
    with pytest.raises(CannotExpress, match="the template does not show the tools"):
        ours.completion_text(messages[:2], TOOLS)
