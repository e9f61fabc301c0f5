"""Errors without secrets: services answer a refused signature with the terms of the right one."""

import re

_SPELLED = re.compile(
    r"""((?:x-amz-security-token|x-amz-signature|signature)
    (?:["'\\]*\s*(?:[:=>]|%3[ad])|["'\\]+\s*,)  # said of it, or beside it in a list
    [\s(\[]*(?:b(?=["']))?["'\\]*)
    (?:\\+/|[^\s"',;&<\\])+""",
    re.IGNORECASE | re.VERBOSE,
)
_SIGNATURE = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SHORTEST = 16
"""Real keys are longer; what is shorter is a placeholder, whose letters stand in every text."""
_known: dict[str, re.Pattern[str]] = {}


def keep_out(*secrets: str | None) -> None:
    """Let no text that goes through here hold these, however their signs are escaped."""
    for secret in secrets:
        if secret is None or len(secret) < _SHORTEST:
            continue
        signs = (c if c.isalnum() else rf"(?:\\*{re.escape(c)}|%{ord(c):02x})" for c in secret)
        _known[secret] = re.compile("".join(signs), re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Give a text without session tokens, signatures, and what is to be kept out."""
    for known in _known.values():
        text = known.sub("***", text)
    return _SIGNATURE.sub("***", _SPELLED.sub(r"\1***", text))


def said(error: Exception) -> str:
    """Give an error's kind and message, without secrets."""
    return without_secrets(f"{type(error).__name__}: {error}")
