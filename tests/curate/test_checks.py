"""Each step that looks at one trace takes out what it says and nothing else."""

import pytest
from curate_examples import Curate
from store_examples import record_trace

from tutelage.curate.checks import format_faults, loops
from tutelage.curate.config import FormatStep, LoopsStep
from tutelage.store import TraceStore
from tutelage.trace import Message, StopReason, Task, Tool, ToolCall, Trace, now

PRICE = Tool(
    name="price",
    definition='{"type": "function", "function": {"name": "price", "parameters": {"type": "object", '
    '"properties": {"product": {"type": "string"}}, "required": ["product"]}}}',
)


class Alone:
    """A candidate that is not in a store."""

    def __init__(self, *messages: Message) -> None:
        self.found = Trace(
            id="t",
            task=Task(id="t", turns=("What?",)),
            run="r",
            attempt=0,
            model="m",
            timestamp=now(),
            messages=messages,
            tools=(PRICE,),
        )

    def trace(self, store: object) -> Trace:
        return self.found


def asked() -> Message:
    return Message(role="user", content="What?")


def calls(id: str = "c", name: str = "price", arguments: str = '{"product": "lamp"}', **more: str) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id=id, name=name, arguments=arguments),), **more)


def answers(id: str = "c", text: str = "12 EUR") -> Message:
    return Message(role="tool", content=text, tool_call_id=id)


def says(text: str = "12 EUR.") -> Message:
    return Message(role="assistant", content=text)


def test_a_well_formed_trace_has_no_fault() -> None:
    trace = Alone(asked(), calls(), answers(), says(), asked(), calls(), answers(), says())
    assert format_faults(FormatStep(step="format"), trace, None) is None


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((asked(), calls(name="cost"), answers(), says()), "a call of an unknown tool"),
        ((asked(), calls(arguments='{"product": '), answers(), says()), "arguments that do not fit"),
        ((asked(), calls(arguments="[]"), answers(), says()), "arguments that do not fit"),
        ((asked(), calls(arguments="{}"), answers(), says()), "arguments that do not fit"),
        ((asked(), calls(), says()), "a call without a result"),
        ((asked(), answers(), says()), "a result without a call"),
        ((asked(), calls(), answers(), answers(), says()), "a result without a call"),
        ((asked(), says(" "), asked(), says()), "an empty message"),
        ((asked(), says('<tool_call>{"name": "price"}</tool_call>')), "markup that was not parsed"),
        ((asked(), calls(), answers()), "no answer at the end"),
    ],
)
def test_each_fault_of_format_is_found(messages: tuple[Message, ...], why: str) -> None:
    fault = format_faults(FormatStep(step="format"), Alone(*messages), None)
    assert fault is not None and fault.why == why


def test_arguments_may_be_held_against_json_alone() -> None:
    trace = Alone(asked(), calls(arguments="{}"), answers(), says())
    assert format_faults(FormatStep(step="format", arguments=False), trace, None) is None


def test_polling_is_no_loop_but_the_same_result_again_is() -> None:
    polls = [message for number in range(4) for message in (calls(f"c{number}"), answers(f"c{number}", f"{number} %"))]
    step = LoopsStep(step="loops")
    assert loops(step, Alone(asked(), *polls, says()), None) is None
    again = [message for number in range(3) for message in (calls(f"c{number}"), answers(f"c{number}"))]
    fault = loops(step, Alone(asked(), *again, says()), None)
    assert fault is not None and '"price" 3 times' in fault.detail


def test_arguments_in_another_order_are_the_same_call() -> None:
    step = LoopsStep(step="loops", same_result=1)
    pair = ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    messages = [each for n, text in enumerate(pair) for each in (calls(f"c{n}", arguments=text), answers(f"c{n}"))]
    assert loops(step, Alone(asked(), *messages, says()), None) is not None


def test_a_message_that_repeats_its_line_is_a_loop() -> None:
    fault = loops(LoopsStep(step="loops"), Alone(asked(), says("I look at the lamps.\n" * 9)), None)
    assert fault is not None and fault.why == "the same line again"


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ('step = "stop_reason"', {"good", "failing", "long"}),
        ('step = "length"\nmax_steps = 4', {"good", "cut", "failing"}),
        ('step = "length"\nmin_steps = 3', {"long"}),
        ('step = "length"\nmax_characters = 120', {"good", "cut", "failing"}),
        ('step = "tool_errors"', {"good", "cut", "long"}),
        ('step = "loops"\nsame_call = 5', {"good", "cut", "failing"}),
    ],
)
def test_each_step_leaves_what_it_should(store: TraceStore, curated: Curate, step: str, left: set[str]) -> None:
    record_trace(store, "good")
    record_trace(store, "cut", stop_reason=StopReason.STEP_LIMIT)
    record_trace(store, "failing", error=True)
    record_trace(store, "long", steps=9)
    report = curated(f"[[curate]]\n{step}\n")
    taken = {each.trace for each in report.steps[0].removed}
    assert {summary.task_id for summary in store.summaries() if summary.id not in taken} == left
