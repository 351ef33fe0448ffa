# SPDX-License-Identifier: GPL-2.0-only
"""Whether a line is the headline of a report: the table's rows, die() and panic()."""

from __future__ import annotations

import re

from harness.parse.splat_formats import FORMATS, Headline, Role

# "Oops: divide error: 0000 [#1] SMP", "Internal error: Oops - BUG: 00000000f2000800 [#1] SMP",
# "Oops[#1]:" (MIPS, LoongArch), "sh(71): Oops [#1]" (SPARC, Alpha)
_DIE = re.compile(
    r"(?P<mark>Oops: |Internal error: |[^\s\[]{1,16}\(\d+\): (?=Oops|Kernel|Bad|Illegal))?"
    r"(?P<what>[^\[]{1,120}?)(?P<code>: [0-9a-f]{1,16}|, sig: \d+| ilc:\d+)* ?\[#\d+\]"
)
# What a die() is called with that has no "Oops: " in front of it (x86 until 6.9, s390).
_TRAP = re.compile(
    r"(?:[a-zA-Z0-9-]+[ _]){0,3}(?:fault|error|opcode|int3|segment|present|TSS|check|overrun|"
    r"bounds|overflow|available|exception|operation|endbr|trap|debug|pagetable|event|hit|BUG|Oops|NMI)\b"
    r"[^:\"']*$"
)
_HEX = re.compile(r"[0-9a-f]{4,16}")
_BARE_DIE = re.compile(r"Oops|Kernel BUG|Kernel bug detected|[A-Z][\w /-]{3,60}\[#\d+\]:$")
DIE_KINDS = (
    ("GPF", re.compile(r"general protection")),
    ("divide-error", re.compile(r"divide error")),
    ("invalid-opcode", re.compile(r"invalid opcode")),
    ("int3", re.compile(r"int3|Oops - BRK")),
    ("stack-segment", re.compile(r"stack segment")),
    ("stack-overflow", re.compile(r"stack guard|[kK]ernel stack overflow")),
    ("double-fault", re.compile(r"double fault")),
    ("alignment", re.compile(r"alignment|misaligned|unaligned")),
    ("undefined-instruction", re.compile(r"[Uu]ndefined instruction|illegal instruction")),
    ("UBSAN", re.compile(r"UBSAN")),
    ("KASAN", re.compile(r"KASAN")),
    ("CFI", re.compile(r"\bCFI\b|\bBTI\b|control protection")),
    ("unhandled-fault", re.compile(r"synchronous external abort|imprecise")),
    ("BUG", re.compile(r"Oops - BUG|[kK]ernel BUG|Kernel bug detected|Exception in kernel mode")),
)

_PANIC = re.compile(r"Kernel panic - not syncing: ?(?P<what>.*)|Kernel panic: (?P<old>.+)")
PANIC_KINDS = (
    ("OOM", re.compile(r"Out of memory|System is deadlocked on memory")),
    ("stack-corruption", re.compile(r"stack-protector|corrupted (?:shadow )?stack")),
    ("stack-overflow", re.compile(r"kernel stack overflow|stack guard")),
    ("hard-lockup", re.compile(r"[Hh]ard LOCKUP")),
    ("soft-lockup", re.compile(r"softlockup")),
    ("hung-task", re.compile(r"hung_task")),
    ("rcu-stall", re.compile(r"RCU Stall")),
    ("SError", re.compile(r"SError")),
    ("MCE", re.compile(r"machine check|MCA|MCE")),
)

# What panic() is called with because of a report that was already printed.
CONSEQUENCE = re.compile(
    r"Kernel panic - not syncing: ?(?:.*Fatal exception|.*panic_on_(?:warn|taint) set"
    r"|.*panic\w* set|scheduling while atomic|.*warned too often|softlockup|hung_task"
    r"|RCU Stall|Hard LOCKUP|Kernel Fault|Watchdog detected hard LOCKUP"
    r"|Attempted to kill|Out of memory|System is deadlocked|kernel stack overflow"
    r"|Asynchronous SError|Unhandled exception|Machine halted|.*stack guard hit"
    r"|Aiee, killing|Oops failed|.*[Mm]achine check|bad mode|BUG!|UBSAN|KFENCE|kfence|kasan)"
)

CUT_HERE = re.compile(r"-{8,}\[ cut here \]-{8,}")

# All rows in one: the quick test that nearly every line of a log fails.
_ANCHORED = re.compile(
    "|".join(re.sub(r"\?P<\w+>", "?:", row.pattern.pattern) for row in FORMATS if not row.needle)
)
_NEEDLES = frozenset(row.needle for row in FORMATS if row.needle)

KINDS = frozenset(
    {row.kind for row in FORMATS}
    | {kind for kind, _ in (*DIE_KINDS, *PANIC_KINDS)}
    | {"oops", "panic", "stack-dump", "unknown"}
)


def _first(table: tuple[tuple[str, re.Pattern[str]], ...], text: str, otherwise: str) -> str:
    return next((kind for kind, pattern in table if pattern.search(text)), otherwise)


def _die(text: str) -> Headline | None:
    found = _DIE.match(text)
    if found is None:
        return None
    what = found["what"]
    if _HEX.fullmatch(what):
        what = "Oops"  # "Oops: 0002 [#1]"
    elif not found["mark"] and not (_TRAP.match(what) if found["code"] else _BARE_DIE.match(text)):
        return None
    title = what.split(", probably for", 1)[0].split(", maybe for", 1)[0]
    if text.startswith("Internal error"):
        title = f"Internal error: {title}"
    return Headline(_first(DIE_KINDS, what, "oops"), title, Role.DIE)


def _panic(text: str) -> Headline | None:
    found = _PANIC.match(text)
    if found is None:
        return None
    what = re.sub(r" ?exitcode=\S+", "", found["what"] or found["old"] or "")
    title = f"Kernel panic - not syncing: {what}"
    return Headline(_first(PANIC_KINDS, what, "panic"), title, Role.PANIC, fatal=True)


# Headlines that no other text holds by chance, where a line end was lost in front of one.
_BURIED = re.compile(
    r"(?:watchdog: )?BUG: (?:KASAN: |KCSAN: |KMSAN: |KFENCE: |[Uu]nable to handle |kernel NULL |"
    r"sleeping function called |scheduling while atomic|soft lockup|Bad page |workqueue lockup)|"
    r"kernel BUG at |Kernel panic - not syncing: |WARNING: CPU: \d+ PID: \d+ at |"
    r"WARNING: (?:possible \w+ locking |suspicious RCU usage)|INFO: (?:task .{1,64}:\d+ blocked |"
    r"rcu_\w+ (?:self-)?detected )|Unable to handle kernel |general protection fault|Oops: |"
    r"Internal error: "
)
_BURIED_WORDS = (
    "BUG",
    "WARNING: ",
    "Kernel panic",
    "INFO: ",
    " fault",
    "Oops",
    "Unable",
    "Internal",
)


def buried(text: str) -> Headline | None:
    """The headline that stands behind other text in a cleaned line, or None."""
    if not any(word in text for word in _BURIED_WORDS) or text.startswith("---[ end "):
        return None
    found = _BURIED.search(text, 1)
    return None if found is None else headline(text[found.start() :])


def headline(text: str) -> Headline | None:
    """The headline that a cleaned line is, or None."""
    if "Kernel panic" in text and (found := _panic(text)) is not None:
        return found
    if "[#" in text and (died := _die(text)) is not None:
        return died
    if _ANCHORED.match(text) is None and not any(needle in text for needle in _NEEDLES):
        return None
    for row in FORMATS:
        match = row.pattern.match(text)
        if match is not None:
            groups = {name: value or "" for name, value in match.groupdict().items()}
            title = row.title.format(**groups) if row.title else text
            return Headline(row.kind, title, row.role, fatal=title.startswith("PANIC:"))
    return None
