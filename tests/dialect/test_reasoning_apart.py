import pytest

from tutelage.dialect.reasoning import apart


@pytest.mark.parametrize(
    ("content", "reasoning", "found"),
    [
        ("<think>Where?</think>Here.", None, ("Here.", "Where?")),
        ("<think>Where", None, (None, "Where")),
        ("Where?</think>Here.", None, ("Here.", "Where?")),  # its template wrote <think>
        ("</think>Here.", None, ("Here.", None)),
        ("Here.", "Where?", ("Here.", "Where?")),
        ("It ends in </think>.", "Where?", ("It ends in </think>.", "Where?")),  # the server took it apart
        ("Write <think> and </think>.", None, ("Write <think> and </think>.", None)),
        (None, None, (None, None)),
    ],
)
def test_reasoning_is_kept_apart_from_content(
    content: str | None, reasoning: str | None, found: tuple[str | None, str | None]
) -> None:
    assert apart(content, reasoning) == found
