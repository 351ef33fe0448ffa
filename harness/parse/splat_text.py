# SPDX-License-Identifier: GPL-2.0-only
"""The text of a kernel log line: what stands in front of a message, and what varies inside it.

``split`` takes the prefixes off (ANSI colours, syslog levels, journal, timestamps, caller ids),
``scrub`` the addresses, pids and CPU numbers that differ from one boot to the next. Both look at
no more than ``MAX_LINE`` characters of a line, so a log without line ends costs no more.
"""

from __future__ import annotations

import re

MAX_LINE = 2048

_ANSI = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78cDEHM])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# A kernel timestamp is looked for anywhere near the start: whatever stands before it (a shell's
# prompt, a console server's name, half a line of a program's output) is not the kernel's.
_STAMP = re.compile(r"\[ *\d{1,9}\.\d{3,9}(?:@\d+)?\] ?")
_STAMP_WITHIN = 200

_PREFIX = re.compile(
    r"(?:"
    r"<\d{1,3}>|"  # syslog level
    r"\[(?P<caller> *[TC]\d+(?:/[^\]]{1,32})?)\] ?|"
    # journal, syslog: "Nov 23 07:57:20 host kernel: ", ISO 8601 likewise; dmesg -T; dmesg -x
    r"[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? \S{1,255} kernel: |"
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,20} (?:\S{1,255} )?kernel: |"
    r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d \d{4}\] ?|"
    r"(?:kern|user|daemon|syslog) {0,3}:[a-z]{3,6} {0,3}: ?|"
    r"(?:console|kernel|serial|uart|tty[A-Za-z]*\d*|dmesg|qemu)(?:\[\d+\])?: "
    r")"
)


def _decolour(line: str) -> str:
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    return _CONTROL.sub("", line)


def split(line: str) -> tuple[str, str]:
    """The message of a log line, and the caller id (``T123``, ``C0``) or ""."""
    text = line[:MAX_LINE].rstrip("\r\n")
    if not text.isprintable():
        text = _decolour(text)
    caller = ""
    stamp = 0
    if "]" in text:
        # the last one: two messages share a line where a line end was lost
        for found in _STAMP.finditer(text, 0, _STAMP_WITHIN):
            stamp = found.end()
    text = text[stamp:]
    while (prefix := _PREFIX.match(text)) is not None:
        caller = (prefix["caller"] or caller).strip()
        text = text[prefix.end() :]
    return text, caller


def clean(line: str) -> str:
    """A log line without line end, colours, log level, journal prefix, timestamp, caller id."""
    return split(line)[0].rstrip()


# ---------------------------------------------------------------------------------------------
# Symbols
# ---------------------------------------------------------------------------------------------

_NAME = r"[A-Za-z_$][\w$.]{0,200}"
SYMBOL = re.compile(rf"(?<![\w$.])({_NAME})\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?")
_COMPILER_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm|lto_priv|clone)\b.*$")


def plain_symbol(name: str) -> str:
    """A function's name as in the source: without what the compiler hung on it."""
    return _COMPILER_SUFFIX.sub("", name)


# ---------------------------------------------------------------------------------------------
# Headlines
# ---------------------------------------------------------------------------------------------

# A source file's name, up to the kernel's own folder: builds stand in different places.
_BUILD_FOLDER = re.compile(
    r"(?<!\S)(?:/(?:[^\s/]+/)*?|(?:\.\./)+)(?=(?:arch|block|crypto|drivers|fs|include|init|"
    r"io_uring|ipc|kernel|lib|mm|net|rust|security|sound|virt)/)"
)

_SCRUBS = (
    (SYMBOL, lambda m: plain_symbol(m[1])),
    (re.compile(r"\b[a-z_>.-]{1,20}=(?:0x)?[0-9a-f]{8,16}\b"), ""),
    (re.compile(r"\b(?:0x[0-9a-f]+|[0-9a-f]{8,16})\b"), ""),
    (re.compile(r" \[#\d+\].*$"), ""),
    (re.compile(r"\bCPU: ?\d+ PID: ?\d+ ?"), ""),
    (re.compile(r"(\bCPU|\bcpu|\bcore) ?#?\d+"), r"\1"),
    (re.compile(r"(?<=\bpid )\d+|(?<=\bpid: )\d+|(?<=\bprocess )\d+ "), ""),
    (re.compile(r"\s*\[[A-Za-z_]\w*\](?=\s|$|/)"), ""),  # a module's name behind a symbol
    (re.compile(r"(?<=kworker)/\w+:\w+(?:[-+]\S+)?"), ""),
    (re.compile(r"\(\)$|\(null\)|(?<!\w)\([\s,.=]*\)|\[[\s,-]*\]"), ""),
    (re.compile(r"\s+(?=[,.;:!])|\.+(?=\.)"), ""),
    (re.compile(r"\s{2,}"), " "),
    (_BUILD_FOLDER, ""),
)


def scrub(headline: str) -> str:
    """A headline without addresses, offsets, pids and CPU numbers: equal in every boot."""
    text = headline
    for pattern, replacement in _SCRUBS:
        text = pattern.sub(replacement, text)
    return text.strip().rstrip(".,:;- ")
