"""Tool results longer than the agent shows to a model are cut, visibly and always in the same way."""


def truncate(text: str, limit: int) -> str:
    """The first `limit` characters of `text`, and a notice where that is not all of it."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… [cut: {limit} of {len(text)} characters shown]"
