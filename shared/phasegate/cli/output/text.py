"""Text from outside, made safe to print."""


def visible(text: str) -> str:
    r"""Text with its control characters shown by their numbers, so that no terminal obeys them.

    Reports of producers and values of tables are quoted in many messages.

    >>> print(visible("a\x1b[2Jb\u202e\nc"))
    a\x1b[2Jb\u202e\nc
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
