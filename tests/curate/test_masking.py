"""The same value gets the same mask wherever it stands in a trace, and what is left is what it was."""

import json
from urllib.parse import quote

import pytest
from secret_corpus import Planted, look_alikes, planted

from tutelage.curate.config import MaskStep
from tutelage.curate.masking import Masker
from tutelage.curate.personal import personal_data
from tutelage.trace import Message, Task, ToolCall, Trace, now

FALSE_POSITIVES = 0.01


def trace(*messages: Message) -> Trace:
    task = Task(id="t", turns=("Do it.",))
    return Trace(id="t", task=task, run="r", attempt=0, model="m", timestamp=now(), messages=messages, tools=())


def masker(**settings: object) -> Masker:
    return Masker(MaskStep.model_validate({"step": "mask", **settings}), {})


def masked(*messages: Message, **settings: object) -> list[Message]:
    found = masker(**settings).mask(trace(*messages))
    return list(messages) if found is None else found.messages


def holder(item: Planted, number: int) -> Message:
    """The text as a tool result, an argument or what the assistant said."""
    if number % 3 == 0:
        return Message(role="tool", content=item.text, tool_call_id="c")
    if number % 3 == 1:
        call = ToolCall(id="c", name="run", arguments=json.dumps({"input": item.text}))
        return Message(role="assistant", tool_calls=(call,))
    return Message(role="assistant", content="Done.", reasoning_content=item.text)


def test_nothing_is_left_of_500_planted_secrets() -> None:
    scrub, left = masker(), []
    for number, item in enumerate(planted(7, 500)):
        found = scrub.mask(trace(holder(item, number)))
        text = found.messages[0].model_dump_json() if found else item.text
        forms = {item.secret, json.dumps(item.secret)[1:-1], json.dumps(item.secret, ensure_ascii=False)[1:-1]}
        if found is None or any(form in text for form in forms):
            left.append(item)
    assert left == []


def test_500_look_alikes_are_masked_to_the_stated_rate_at_most() -> None:
    scrub = masker()
    taken = [text for text in look_alikes(7, 500) if scrub.mask(trace(Message(role="tool", content=text)))]
    assert len(taken) <= FALSE_POSITIVES * 500, taken


def test_arguments_still_match_results() -> None:
    password = 'p"w\\1ü!'
    call = ToolCall(id="c", name="login", arguments=json.dumps({"user": "anna@shop.de", "password": password}))
    messages = masked(
        Message(role="user", content=f"Log in as anna@shop.de, the address of {quote(password)}."),
        Message(role="assistant", reasoning_content=f"I use {password}.", tool_calls=(call,)),
        Message(role="tool", content=json.dumps({"log": json.dumps({"got": password})}), tool_call_id="c"),
        Message(role="assistant", content="anna@shop.de is in, bert@shop.de is not."),
    )
    mask = "<LABELLED_PASSWORD_1>"
    assert messages[0].content == f"Log in as <EMAIL_1>, the address of {mask}."
    assert messages[1].reasoning_content == f"I use {mask}."
    assert messages[1].tool_calls[0].arguments == json.dumps({"user": "<EMAIL_1>", "password": mask})
    assert json.loads(json.loads(messages[2].content or "")["log"]) == {"got": mask}
    assert messages[3].content == "<EMAIL_1> is in, <EMAIL_2> is not."


def test_a_second_masking_finds_nothing_and_numbers_go_on() -> None:
    once = masked(Message(role="user", content="Write to anna@shop.de, postgresql://me:hunter2x@db/x"))
    assert masker().mask(trace(*once)) is None
    more = masked(*once, Message(role="assistant", content="Or to bert@shop.de."))
    assert more[1].content == "Or to <EMAIL_2>."


def test_json_stays_json_where_a_number_is_masked() -> None:
    arguments = '{"card": 4111111111111111, "n": [4111111111111111, 2]}'
    (message,) = masked(Message(role="assistant", tool_calls=(ToolCall(id="c", name="pay", arguments=arguments),)))
    assert json.loads(message.tool_calls[0].arguments) == {"card": "<CARD_1>", "n": ["<CARD_1>", 2]}


def test_a_short_value_is_masked_only_as_a_whole_word() -> None:
    (message,) = masked(Message(role="user", content="password: dog777 and hotdog777s\nand dog777"))
    assert message.content == "password: <LABELLED_PASSWORD_1> and hotdog777s\nand <LABELLED_PASSWORD_1>"


def test_either_half_can_be_left_out() -> None:
    message = Message(role="user", content="anna@shop.de has password=hunter2x")
    assert masked(message, secrets=False)[0].content == "<EMAIL_1> has password=hunter2x"
    assert masked(message, personal_data=False)[0].content == "anna@shop.de has password=<LABELLED_PASSWORD_1>"


@pytest.mark.parametrize(
    ("text", "region", "found"),
    [
        ("write to Anna.Ott+shop@mail.shop.co.uk.", None, ["Anna.Ott+shop@mail.shop.co.uk"]),
        ("call +49 30 901820 or (030) 901820", None, ["+49 30 901820"]),
        ("call +49 30 901820 or (030) 901820", "DE", ["+49 30 901820", "(030) 901820"]),
        ("card 4111 1111 1111 1111, exp 12/29", None, ["4111 1111 1111 1111"]),
        ("IBAN DE89 3704 0044 0532 0130 00", None, ["DE89 3704 0044 0532 0130 00"]),
        ("4111 1111 1111 1112, DE89 3704 0044 0532 0130 01", None, []),  # check sums that are wrong
        ("git@github.com:a/b me@example.com icon@2x.png lodash@4.17.21", None, []),
        ("order 4930901820 at 1732560000, EAN 4006381333931x, v+1.234.567.890", "DE", []),
        ("550e8400-e29b-41d4-a716-446655440000 9fceb02d0ae598e95dc970b74767f19372d61af8", "US", []),
    ],
)
def test_personal_data_is_told_by_its_form(text: str, region: str | None, found: list[str]) -> None:
    assert [value for _, value in personal_data(text, region)] == found
