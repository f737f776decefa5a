"""Wrapped text, as a sentence to be found in."""


def words(text: str) -> str:
    """The text in one line, so that a test finds a sentence wherever its lines end."""
    return " ".join(text.split())
