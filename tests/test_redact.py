import base64
import json
from pathlib import Path

from mcp_types import CallToolResult

from tutelage.agent.results import tool_result
from tutelage.redact import named_secrets, note_secret, redact


def test_only_values_whose_names_say_that_they_are_secret_are_secret() -> None:
    assert named_secrets({"AUTHOR": "Ada Lovelace", "KEYWORDS": "garden", "TOKENIZER": "cl100k"}) == {}
    values = {"Authorization": "Bearer sesame-1", "GITHUB_TOKEN": "sesame-2"}
    found = named_secrets(values, url="http://x?api_key=sesame-3")
    assert list(found.values()) == ["sesame-1", "sesame-2", "sesame-3"]


def test_passwords_of_urls_and_of_the_command_line_are_secret() -> None:
    values = {"DATABASE": "postgresql://ada:sesame%2F1@db/x"}
    arguments = ["--api-key", "sesame-2", "--token=sesame-3", "--auth-mode", "interactive", "redis://:sesame-4@db"]
    assert set(named_secrets(values, arguments, "https://ada:sesame-5@x/mcp").values()) == {
        "sesame/1",
        "sesame-2",
        "sesame-3",
        "sesame-4",
        "sesame-5",
    }
    assert named_secrets({}, ["--token", "--verbose", str(Path(__file__))]) == {}


def test_a_secret_is_blotted_out_however_it_is_written() -> None:
    secret = 'pass"word/ß-1'
    note_secret(secret)
    escaped = json.dumps({"password": secret})
    for text in (secret, escaped, json.dumps({"password": secret}, ensure_ascii=False), json.dumps({"text": escaped})):
        assert "word" not in redact(text).replace("password", ""), text
    assert redact("http://x?key=pass%22word%2F%C3%9F-1") == "http://x?key=…"


def test_a_secret_in_a_file_that_a_tool_gave_is_blotted_out() -> None:
    note_secret("sesame-in-a-file")
    blob = base64.b64encode(b"TOKEN=sesame-in-a-file\n\xff").decode()
    resource = {"uri": "file:///.env", "mimeType": "application/octet-stream", "blob": blob}
    result = tool_result(CallToolResult.model_validate({"content": [{"type": "resource", "resource": resource}]}))
    assert [one.data for one in result.attachments] == ["TOKEN=…\n".encode() + b"\xff"]
