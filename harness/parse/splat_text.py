# SPDX-License-Identifier: GPL-2.0-only
"""The text of a kernel log line: what stands in front of a message, and what varies inside it.

``messages`` takes a line apart where line ends were lost, ``split`` takes the prefixes off a
message (ANSI colours, syslog levels, journal, timestamps, caller ids), ``scrub`` the addresses,
pids and CPU numbers that differ from one boot to the next. The last two look at no more than
``MAX_LINE`` characters, so a log without line ends costs no more.
"""

from __future__ import annotations

import re

MAX_LINE = 2048

_ANSI = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78cDEHM])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# A kernel timestamp is looked for everywhere: whatever stands before it (a shell's prompt, a
# console server's name, half a line of a program's output) is not of that message. "dmesg -d" puts
# the distance to the message before behind it, other kernels the CPU.
_STAMP = re.compile(r"\[ {0,12}\d{1,9}\.\d{3,9}(?:@\d{1,4}|,\d{1,4}| <[ \d.]{1,20}>)?\] ?")
# Where one message ends and the next begins inside of a line: a timestamp that does not open it,
# a carriage return that does not end it.
_BREAK = re.compile(rf"(?<=\r)(?=[^\r\n])|(?<=[^\r\n])(?={_STAMP.pattern})")

_HOST = r"(?:[\w.:()-]{1,255} )?(?:[a-z]{2,8}[0-7]?\.[a-z]{3,7} )?kernel(?:\[\d+\])?: ?"
_NOBODY = r"(?!\S+ \S{1,64}\[\d+\]: )"  # a line of another program's keeps what is in front of it
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_PREFIX = re.compile(
    r"(?:"
    r"<\d{1,3}>|"  # syslog level
    r"\[(?P<caller> *[TC]\d+(?:/[^\]]{1,32})?)\] ?|"
    # journal, syslog, logread, ts: "Nov 23 07:57:20 host kernel: ", with or without host, weekday,
    # year
    rf"(?:[A-Z][a-z]{{2}} )?[A-Z][a-z]{{2}} +\d{{1,2}} {_CLOCK}(?: \d{{4}})? (?:{_HOST}|{_NOBODY})|"
    # ISO 8601 likewise, from a journal, dmesg, a console server or a CI
    rf"\d{{4}}[-/]\d\d[-/]\d\d[T ]{_CLOCK}\S{{0,8}} (?:{_HOST}|{_NOBODY})|"
    rf"[A-Z][a-z]{{2}} \d{{4}}-\d\d-\d\d {_CLOCK} [A-Z]{{3,5}} {_HOST}|\d{{9,10}}\.\d{{6}} {_HOST}|"
    rf"\[\d{{4}}-\d\d-\d\d[T ]{_CLOCK}[^\]]{{0,8}}\] ?|"
    # dmesg -T, and with -d; dmesg -e; dmesg -x; what /dev/kmsg and netconsole give
    rf"\[[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} +\d{{1,2}} {_CLOCK} \d{{4}}(?: <[ \d.]{{1,20}}>)?\] ?|"
    r"\[[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d\] ?|\[ *\+\d{1,9}\.\d{3,9}\] ?|"
    r"(?:kern|user|daemon|syslog) {0,3}:[a-z]{3,6} {0,3}: ?|"
    r"(?:\d\.[\w.+-]{1,64},)?\d{1,4},\d{1,19},\d{1,19},[-c+](?:,[\w=/-]{1,64}){0,4};|"
    # phones' kernels: the CPU and the task
    r" ?\.?\(\d{1,2}\)\[\d{1,7}:[^\]]{1,32}\] ?|"
    r" ?[A-Z]\[\d{1,2}: {0,16}[^\]:]{1,32}: {0,6}\d{1,7}\] ?|"
    rf"{_HOST}|"
    r"(?:console|serial|uart|tty[A-Za-z]*\d*|dmesg|qemu)(?:\[\d+\])?: "
    r")"
)


def _decolour(line: str) -> str:
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    return _CONTROL.sub("", line)


def messages(line: str) -> list[str]:
    """The messages that share a line because line ends were lost, each as it stands there."""
    if line.find("[", 1) < 0 and "\r" not in line:
        return [line]
    found = _BREAK.split(line)
    return found if len(found) > 1 else [line]


def split(line: str) -> tuple[str, str]:
    """The last message of a log line, and its caller id (``T123``, ``C0``) or ""."""
    return message(messages(line)[-1])


def message(piece: str) -> tuple[str, str]:
    """A message without what stands in front of it, and its caller id or ""."""
    text = piece[:MAX_LINE].rstrip("\r\n")
    if not text.isprintable():
        text = _decolour(text)
    caller = ""
    if (stamp := _STAMP.match(text)) is not None:
        text = text[stamp.end() :]
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
# What scripts/decode_stacktrace.sh puts in an offset's place: " (a.c:1 (discriminator 2) b.h:3)".
_AT = r"[^\s():]{1,255}:(?:\d{1,6}|\?)(?: \(discriminator \d{1,6}\))?"
PLACE = rf" \({_AT}(?: {_AT})*\)"
# What it makes of a line of code, by scripts/decodecode.
CODE = (
    r"All code\s*$|Code starting with the faulting instruction"
    r"|\s*[0-9a-f]{1,3}:\*?\t(?:[0-9a-f]{2} )+"
)
SYMBOL = re.compile(rf"(?<![\w$.])\.?({_NAME})(?:\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?|{PLACE})")
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

_BLANKS = re.compile(r"\s{2,}")
_SCRUBS = (
    (SYMBOL, lambda m: plain_symbol(m[1])),
    (re.compile(r"\b[a-z_>.-]{1,20}=(?:0x)?[0-9a-f]{8,16}\b"), ""),
    (re.compile(r"(?<=\bshould be )(?:0x)?[0-9a-f]{8,16}\b"), "X"),  # lib/list_debug.c
    (re.compile(r"(?<=\bbut was )(?:0x)?[0-9a-f]{8,16}\b"), "Y"),
    (re.compile(r"\b(?:0x[0-9a-f]+|[0-9a-f]{8,16})\b"), ""),
    (re.compile(r" \[#\d+\].*$"), ""),
    (re.compile(r"\bCPU: ?\d+ PID: ?\d+ ?"), ""),
    (re.compile(r"(\bCPU|\bcpu|\bcore) ?#?\d+"), r"\1"),
    (re.compile(r"(?<=\bpid )\d+|(?<=\bpid: )\d+|(?<=\bprocess )\d+ "), ""),
    (re.compile(r"\s*\[[A-Za-z_]\w*\](?=\s|$|/)"), ""),  # a module's name behind a symbol
    (re.compile(r"(?<=kworker)/\w+:\w+(?:[-+]\S+)?"), ""),
    (re.compile(r"\(\)$|\(null\)|(?<!\w)\([\s,.=]*\)|\[[\s,-]*\]"), ""),
    (re.compile(r"\s+(?=[,.;:!])|\.+(?=\.)"), ""),
    (_BLANKS, " "),
    (_BUILD_FOLDER, ""),
)


def scrub(headline: str) -> str:
    """A headline without addresses, offsets, pids and CPU numbers: equal in every boot."""
    text = _BLANKS.sub(" ", headline)  # long runs of which cost the patterns a square of time
    for pattern, replacement in _SCRUBS:
        text = pattern.sub(replacement, text)
    return text.strip().rstrip(".,:;- ")
