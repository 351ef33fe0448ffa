# SPDX-License-Identifier: GPL-2.0-only
"""Text from a guest made fit for a terminal and for XML: nothing in it acts, nothing is hidden."""

from __future__ import annotations

import re

# What is no printable character: C0 and C1 controls but tab and newline, surrogates, the
# marks that turn the direction of text, what has no width (Unicode's property
# Default_Ignorable_Code_Point), noncharacters. Beyond U+FFFF see _written().
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\ufffe\uffff]|[\U0001fffe-\U0010ffff]"
)


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#|~&@!$-])")


def visible(text: str) -> str:
    """text with each such character written as ``\\x1b`` or ``\\u202e``; CR LF ends a line."""
    return _UNSEEN.sub(_written, text.replace("\r\n", "\n"))


def in_line(text: str) -> str:
    """The same of a name, or of what else has one line: no line feed in it begins another."""
    return visible(text).replace("\n", "\\n")


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code >= 0x1FFFE and code & 0xFFFE != 0xFFFE and code >> 12 != 0xE0:  # tags and the like
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
