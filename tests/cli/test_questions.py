"""A server's questions on the terminal, with typed lines in the place of a person."""

from collections.abc import Callable
from typing import Any

import pytest
from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, ElicitResult

from tutelage.cli.questions import answer

Type = Callable[..., list[str]]
FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "minLength": 2},
        "age": {"type": "integer", "minimum": 18, "description": "in years"},
        "share": {"type": "number", "default": 0.5},
        "news": {"type": "boolean"},
        "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
        "colours": {"type": "array", "items": {"anyOf": [{"const": "r", "title": "Red"}, {"const": "g"}]}},
    },
    "required": ["name", "age"],
}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    def lines(*given: str) -> list[str]:
        prompts: list[str] = []
        rest = iter(given)

        def read(prompt: str) -> str:
            prompts.append(prompt)
            try:
                return next(rest)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read)
        return prompts

    return lines


def ask(schema: dict[str, Any] = FORM) -> ElicitResult:
    return answer("crm", ElicitRequestFormParams(message="Who are you?", requested_schema=schema))


def test_a_form_is_asked_field_by_field_until_each_fits(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = typed("y", "", "A", "Ann", "old", "17", "40", "", "maybe", "yes", "m", "l", "r, x", "r,g", "y")
    result = ask()
    assert result.action == "accept"
    assert result.content == {
        "name": "Ann",
        "age": 40,
        "share": 0.5,
        "news": True,
        "size": "l",
        "colours": ["r", "g"],
    }
    out = capsys.readouterr().out
    assert "Server crm asks you: Who are you?" in out
    for said in ("It is needed", "'A' is too short", "That is no integer", "17 is less than", "That is no boolean"):
        assert said in out
    assert "  age, in years: " in prompts
    assert "  size (s = Small | l = Large; may be left out): " in prompts


def test_what_need_not_be_there_is_left_out(typed: Type) -> None:
    typed("y", "Ann", "40", "", "", "", "", "y")
    assert ask().content == {"name": "Ann", "age": 40, "share": 0.5}


@pytest.mark.parametrize("lines", [("n",), ("",), ("y", "Ann", "40", "", "", "", "", "n")])
def test_no_is_an_answer_before_the_form_and_after_it(typed: Type, lines: tuple[str, ...]) -> None:
    typed(*lines)
    assert ask() == ElicitResult(action="decline")


def test_the_end_of_input_is_the_callers_to_heed(typed: Type) -> None:
    typed("y", "Ann")
    with pytest.raises(EOFError):
        ask()


@pytest.mark.parametrize(("line", "action"), [("y", "accept"), ("n", "decline")])
def test_a_page_is_shown_and_nothing_is_sent_of_it(
    line: str, action: str, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(line)
    asked = ElicitRequestURLParams(message="Pay", url="https://pay.example/1", elicitation_id="e1")
    assert answer("crm", asked).model_dump(include={"action", "content"}) == {"action": action, "content": None}
    assert "https://pay.example/1" in capsys.readouterr().out
