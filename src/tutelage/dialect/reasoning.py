"""A model's reasoning, kept apart from its content."""

OPEN, CLOSE = "<think>", "</think>"


def apart(content: str | None, reasoning: str | None) -> tuple[str | None, str | None]:
    """Content and reasoning, where servers may leave `<think>` in the content; otherwise as they arrived.

    Templates that write `<think>` themselves leave `</think>` alone in what the model says.
    """
    if reasoning or not content:
        return content, reasoning or None
    if content.lstrip().startswith(OPEN):
        reasoning, closed, rest = content.lstrip().removeprefix(OPEN).partition(CLOSE)
        return (rest if closed else None), reasoning or None
    before, closed, rest = content.partition(CLOSE)
    if closed and OPEN not in before:
        return rest, before or None
    return content, None
