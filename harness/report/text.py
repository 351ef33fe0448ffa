# SPDX-License-Identifier: GPL-2.0-only
"""Text from a guest made fit for a terminal and for XML: nothing in it acts, nothing is hidden."""

from __future__ import annotations

import re

# What is no printable character: C0 and C1 controls but tab and newline, surrogates, the
# marks that turn the direction of text, noncharacters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff"
    "\ud800-\udfff\ufffe\uffff]|[\U0001fffe-\U0010ffff]"
)


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#|~&@!$-])")


def visible(text: str) -> str:
    """text with each such character written as ``\\x1b`` or ``\\u202e``; CR LF ends a line."""
    return _UNSEEN.sub(_written, text.replace("\r\n", "\n"))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code >= 0x1FFFE and code & 0xFFFE != 0xFFFE:
        return match[0]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(text: str) -> str:
    """Text of a guest's or a patch's, of which nothing may act as Markdown, HTML or a mention."""
    escaped = _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))
    return escaped.replace("\\<", "&lt;").replace("\\@", "@\u200b")


def last_lines(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[-count:])
