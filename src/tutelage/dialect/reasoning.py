"""A model's reasoning, kept apart from its content."""

OPEN, CLOSE = "<think>", "</think>"


def apart(content: str | None, reasoning: str | None) -> tuple[str | None, str | None]:
    """Content and reasoning, where servers may leave `<think>` in the content; otherwise as they arrived."""
    if not reasoning and content and content.lstrip().startswith(OPEN):
        reasoning, closed, rest = content.lstrip().removeprefix(OPEN).partition(CLOSE)
        content = rest if closed else None
    return content, reasoning or None
