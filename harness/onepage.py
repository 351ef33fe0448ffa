# SPDX-License-Identifier: GPL-2.0-only
"""What a guest's kernel says of one page frame, gathered from its own files."""

from __future__ import annotations

from dataclasses import asdict

from harness.errors import CannotRun, EvidenceError, InputError
from harness.model import JSON, ArmPlan, Guest
from harness.parse import cma, onepage, page_owner, userpages
from harness.parse import ledger as pinner
from harness.parse.onepage import Facts, Fate
from harness.parse.pageflags import BITS
from harness.scenario.program import program
from harness.scenario.recorder import PAGE_OWNER, PINNER, Recorder, mount
from harness.scenario.trigger import contig, offline

FIRST_PIN = "first-pin"
_HEAD, _TAIL = 1 << BITS["COMPOUND_HEAD"], 1 << BITS["COMPOUND_TAIL"]
_PINNER = "pinner"
_LARGEST = 1 << 10  # frames of a compound page, but for hugetlb's that are larger
_RECORD = 4096  # bytes of page_owner's record of one page
_HINT = (
    f"--module pinner:mode=pinpage --run 'echo layout 3000 32 1 > {PINNER}/control' lays some out"
)


def number(word: str) -> int | None:
    """The page frame that a user names, decimal or 0x…; None for the pinner's first pin."""
    if word == FIRST_PIN:
        return None
    try:
        pfn = int(word, 0)
    except ValueError:
        pfn = -1
    if not 0 <= pfn < 1 << 52:
        raise InputError(
            f"{word!r} is no page frame number", hint=f"give 4711, 0x1267, or {FIRST_PIN}"
        )
    return pfn


def look(guest: Guest, pfn: int | None) -> Facts:
    """The facts of a page frame; None: of the first that the pinner has.

    InputError where the guest has no such frame, or the pinner no page. CannotRun where the kernel
    has no /proc/kpageflags.
    """
    mount(guest)
    record = Recorder(guest, ArmPlan("", "", ""), lambda event: None)
    pins, refs, mode = _pins(record)
    if pfn is None:
        if not pins:
            raise InputError("the pinner has pinned no page in this guest", hint=_HINT)
        pfn = pins[0].pfn_now
    size = onepage.pages_per_block(record.optional("/proc/pagetypeinfo") or "")
    first = pfn // size * size
    flags = _entry(record, pfn, "/proc/kpageflags")
    owner, kind = _owner(guest, _head(record, pfn, flags), first, size)
    zones = onepage.spanning(onepage.zones(record.text("/proc/zoneinfo")), pfn)
    unevictable = record.optional("/proc/sys/vm/compact_unevictable_allowed")
    return Facts(
        pfn=pfn,
        flags=flags,
        mapcount=_mapcount(record, pfn),
        refs=refs.get(pfn),
        zones=zones,
        block=_block(guest, pfn),
        first=first,
        pageblock=size,
        type=kind,
        owner=owner,
        cma=_area(guest, pfn),
        pin=next((pin for pin in pins if pin.pfn_now == pfn), None),
        mode=mode,
        unevictable=unevictable is None or unevictable.strip() != "0",
    )


def _entry(record: Recorder, pfn: int, path: str) -> int:
    if record.guest.run(f"[ -r {path} ]").status != 0:
        raise CannotRun(f"this kernel has no {path}", hint="it needs CONFIG_PROC_PAGE_MONITOR")
    try:
        return record.flags(pfn, pfn, path)[pfn]
    except (KeyError, EvidenceError):
        raise InputError(f"this guest has no page frame {pfn} ({pfn:#x})") from None


def _head(record: Recorder, pfn: int, flags: int) -> int:
    """The first frame of the compound page that a frame is in, which alone has a record of who
    allocated it; itself where it is in none."""
    if not flags & _TAIL:
        return pfn
    before = record.flags(max(0, pfn - _LARGEST), pfn)
    at = pfn
    while before.get(at, 0) & _TAIL:
        at -= 1
    return at if before.get(at, 0) & _HEAD else pfn


def _mapcount(record: Recorder, pfn: int) -> int | None:
    path = "/proc/kpagecount"
    if record.guest.run(f"[ -r {path} ]").status != 0:
        return None
    return record.flags(pfn, pfn, path).get(pfn)


def _pins(record: Recorder) -> tuple[tuple[pinner.Pin, ...], dict[int, int], str]:
    """The pinner's pages, its references on each frame, and its mode; none where it is not
    loaded."""
    if record.guest.run(f"[ -r {PINNER}/ledger ]").status != 0:
        return (), {}, ""
    pins = record.pins()
    refs = {pfn: count for _, pfn, count in pinner.refs(record.optional(f"{PINNER}/refs") or "")}
    mode = str(pinner.counters(record.text(f"{PINNER}/counters")).get("mode", ""))
    return pins, refs, mode


def _owner(guest: Guest, pfn: int, first: int, size: int) -> tuple[page_owner.Owner | None, str]:
    """page_owner's record of a frame, and the type of its pageblock by that, or by the first record
    in it."""
    if guest.run(f"[ -r {PAGE_OWNER} ]").status != 0:
        return None, ""
    command = f"{program(guest)} pread {PAGE_OWNER} {_RECORD}"
    done = guest.run(command, stdin=f"{pfn}\n{first}\n".encode(), timeout=60)
    owner, kind = None, ""
    for _, _, said in userpages.pieces(done.stdout):
        text = said.decode(errors="replace")
        found = page_owner.owner(text)
        if found is not None and found.pfn == pfn:
            owner = found
        kind = kind or onepage.block_type(text, first, size)
    return owner, kind


def _block(guest: Guest, pfn: int) -> onepage.MemoryBlock | None:
    try:
        offline.probe(guest)
    except CannotRun:
        return None
    number = pfn // offline.block_pages(guest)
    folder = f"{offline.BLOCKS}/memory{number}"
    if guest.run(f"[ -d {folder} ]").status != 0:
        return None
    said = guest.run(
        f"cd {folder}; for f in state removable valid_zones; do"
        f' [ ! -r $f ] || echo "$f $(cat $f)"; done; ls -d {folder}/node*'
    )
    return onepage.memory_block(number, said.stdout.decode(errors="replace"))


def _area(guest: Guest, pfn: int) -> cma.Area | None:
    try:
        areas = contig.areas(guest)
    except CannotRun:
        return None
    return next((area for area in areas if area.has(pfn, 1)), None)


def as_json(facts: Facts, fate: Fate) -> dict[str, JSON]:
    owner, block, area, pin = facts.owner, facts.block, facts.cma, facts.pin
    return {
        "pfn": facts.pfn,
        "flags": [*facts.names],
        "raw_flags": f"{facts.flags:#x}",
        "mapcount": facts.mapcount,
        "references": facts.refs,
        "zones": [asdict(zone) for zone in facts.zones],
        "memory_block": None if block is None else {**asdict(block), "zones": [*block.zones]},
        "pageblock": {"first": facts.first, "pages": facts.pageblock, "type": facts.type or None},
        "owner": None
        if owner is None
        else {
            "module": owner.module,
            "order": owner.order,
            "pid": owner.pid,
            "comm": owner.comm,
            "type": owner.type,
            "stack": [[call.function, call.module] for call in owner.stack],
        },
        "cma": None if area is None else asdict(area),
        "pin": None if pin is None else {**asdict(pin), "mode": facts.mode},
        "migration": {"what": fate.what, "why": fate.why},
    }


def lines(facts: Facts, fate: Fate) -> list[tuple[str, str]]:
    """(what, what is known of it) for a person."""
    state = "free" if facts.has("BUDDY") else "in use"
    if facts.has("NOPAGE", "OFFLINE"):
        state = "not there"
    rows = [
        ("page", f"{facts.pfn} ({facts.pfn:#x}), {state}"),
        ("flags", f"{' '.join(facts.names) or 'none in /proc/kpageflags'}  ({facts.flags:#x})"),
        ("count", _count(facts)),
        ("zone", _zone(facts)),
        ("memory block", _block_line(facts)),
        ("pageblock", f"{facts.first // facts.pageblock}, {_type(facts)}"),
        ("contiguous area", facts.cma.name if facts.cma else "in none"),
        ("owner", _owner_line(facts)),
    ]
    rows += (
        [("", _call(call.function, call.module)) for call in facts.owner.stack[:8]]
        if (facts.owner)
        else []
    )
    if facts.pin is not None:
        rows.append(("pinner", f"handle {facts.pin.handle}, mode {facts.mode}, {_moved(facts)}"))
    rows.append(("migration", f"{fate.what}: {fate.why}"))
    return rows


def _moved(facts: Facts) -> str:
    assert facts.pin is not None
    times = facts.pin.moves
    often = "once" if times == 1 else f"{times} times"
    return f"pinned at pfn {facts.pin.pfn_pin:#x}, moved {often}, {facts.pin.state}"


def _call(function: str, module: str) -> str:
    return f"{function} [{module}]" if module else function


def _count(facts: Facts) -> str:
    mapped = "unknown" if facts.mapcount is None else str(facts.mapcount)
    refs = "not told by any file" if facts.refs is None else str(facts.refs)
    return f"mapped {mapped}, references {refs}"


def _zone(facts: Facts) -> str:
    block = facts.block
    if block is not None and block.state == "online" and len(block.zones) == 1:
        node = "?" if block.node is None else block.node
        return f"{block.zones[0]} of node {node}"
    return " or ".join(f"{zone.name} of node {zone.node}" for zone in facts.zones) or "in none"


def _block_line(facts: Facts) -> str:
    block = facts.block
    if block is None:
        return "none: this kernel has no memory hotplug, or nothing is there"
    removable = {True: "removable", False: "not removable", None: "removable unknown"}
    return f"{block.name}, {block.state}, {removable[block.removable]} by its file"


def _type(facts: Facts) -> str:
    return facts.type or "type not told (no page of it has an owner on record)"


def _owner_line(facts: Facts) -> str:
    owner = facts.owner
    if owner is None:
        return "none on record"
    if facts.pin is not None and facts.pin.moves and owner.module != _PINNER:
        who = f"{owner.comm or 'a task'} ({owner.pid})"
        return f"module {_PINNER}, by its ledger; the frame was allocated by {who} for a move"
    by = f"module {owner.module}" if owner.module else "the kernel"
    who = f"{owner.comm or 'a task'} ({owner.pid})"
    return f"{by}, order {owner.order}, {owner.type}, allocated by {who}"
