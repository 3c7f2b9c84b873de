import json
from typing import Any

import pytest

from tutelage.record.keys import keys_of, without_keys


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ("Bearer sk-Zq3vKey-0123456789", ["Bearer sk-Zq3vKey-0123456789", "sk-Zq3vKey-0123456789"]),
        ("Bearer anything", []),
        ("Bearer not-needed", []),
        ("Bearer none", []),
        ("correct-horse-battery-staple", ["correct-horse-battery-staple"]),
        ("QwErTyUiOpAsDf", ["QwErTyUiOpAsDf"]),
        ("qwhzkdjfhgkqpzmxlvb", ["qwhzkdjfhgkqpzmxlvb"]),
    ],
)
def test_words_that_stand_for_a_key_are_taken_out_of_no_text(header: str, keys: list[str]) -> None:
    assert keys_of({"authorization": header}) == keys


def hidden(body: Any, *keys: str) -> Any:
    return json.loads(without_keys(body if isinstance(body, bytes) else json.dumps(body).encode(), keys))


@pytest.mark.parametrize("key", ["sk-Zq3vKey/0123+456789==", "12345678", 'a"b\\c/d+e.f', "ключ-0123456789"])
def test_a_key_is_hidden_however_it_is_escaped(key: str) -> None:
    said = f"My key is {key}."
    call = {"function": {"name": "f", "arguments": json.dumps({"key": key})}}
    body = {"number": 12345678, "messages": [{"content": said}, {"tool_calls": [call]}, {key: said}]}
    texts = {json.dumps(body), json.dumps(body, ensure_ascii=False)}
    texts |= {text.replace("/", "\\/").replace("+", "\\u002B") for text in texts}
    for text in texts:
        found = hidden(text.encode(), key)
        assert found["number"] == 12345678
        assert [found["messages"][0], found["messages"][2]] == [
            {"content": "My key is [key]."},
            {"[key]": "My key is [key]."},
        ]
        arguments = json.loads(found["messages"][1]["tool_calls"][0]["function"]["arguments"])
        assert arguments == {"key": "[key]"}


def test_credentials_that_a_request_gives_the_endpoint_are_hidden_and_what_the_model_reads_stays() -> None:
    schema = {"type": "object", "properties": {"password": {"type": "string", "description": "Its password."}}}
    body = {
        "api_key": "x1",
        "max_tokens": 5,
        "mcp_servers": [{"type": "url", "name": "crm", "url": "https://crm", "authorization_token": "x2"}],
        "tools": [
            {"type": "mcp", "server_label": "crm", "authorization": "x3", "headers": {"X-Tenant": "x4"}},
            {"type": "function", "name": "sign_in", "parameters": schema},
            {"type": "function", "function": {"name": "sign_in", "parameters": schema}},
        ],
        "input": [{"role": "user", "content": "My password is 1234."}, {"type": "mcp_list_tools", "token": "x5"}],
    }
    found = hidden(body)
    assert found["api_key"] == found["mcp_servers"][0]["authorization_token"] == "[key]"
    assert found["tools"][0] == {**body["tools"][0], "authorization": "[key]", "headers": {"X-Tenant": "[key]"}}  # type: ignore[index]
    for name in ("max_tokens", "input"):
        assert found[name] == body[name]
    assert found["tools"][1:] == body["tools"][1:]  # type: ignore[index]


def test_a_body_with_nothing_to_hide_keeps_its_bytes() -> None:
    body = b'{ "messages": [{"role": "user",  "content": "A l\\u00e4mp."}] }'
    assert without_keys(body, ["sk-Zq3vKey-0123456789"]) == body


def test_what_is_no_json_is_searched_too() -> None:
    assert without_keys(b'{"messages": "sk-Zq3vKey-012', ["sk-Zq3vKey-012"]) == b'{"messages": "[key]'
