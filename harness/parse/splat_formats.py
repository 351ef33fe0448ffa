# SPDX-License-Identifier: GPL-2.0-only
"""The headlines of the kernel's reports: one table, from the format strings of its sources.

A new format is a new row. The first row that matches wins, so the special stand before the
general. die() and panic() have their own in splat_headline.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a headline does when a report is already open."""

    START = "start"  # always a report of its own
    MESSAGE = "message"  # the text of a WARN or BUG: its header line may stand before or behind
    FAULT = "fault"  # announces a die()
    HEADER = "header"  # "WARNING: CPU: …", "kernel BUG at …": joins the message in front of it
    DIE = "die"  # "… [#1]": joins the headline that announced it
    PANIC = "panic"  # joins the report that led to it
    MORE = "more"  # goes on with an open report of its kind, starts one otherwise
    DETAIL = "detail"  # says more exactly what the open report is; starts one when cut off
    LINE = "line"  # a report of one line
    MAYBE = "maybe"  # a report only if a register dump or a stack trace follows


@dataclass(frozen=True)
class Format:
    """One headline. title: template over the pattern's groups; "" is the line, scrubbed.

    needle: for a pattern that begins with anything (a task's name), a word that must be there.
    """

    kind: str
    pattern: re.Pattern[str]
    title: str = ""
    role: Role = Role.START
    needle: str = ""


@dataclass(frozen=True)
class Headline:
    """A headline found in a line. text is its title before scrubbing."""

    kind: str
    text: str
    role: Role
    fatal: bool = False


def _row(
    kind: str, pattern: str, title: str = "", role: Role = Role.START, needle: str = ""
) -> Format:
    return Format(kind, re.compile(pattern), title, role, needle)


_RCU = r"(?:rcu: )?INFO: (?P<flavour>rcu\w*|\w+)"
_DOG = r"(?:(?:NMI )?watchdog: )?"
_LOCKDEP = r"(?:\[ )?(?P<level>WARNING|INFO|BUG): "

FORMATS = (
    # Sanitizers
    _row("KASAN", r"BUG: KASA[Nn]: (?P<what>.+ in \S+)", "BUG: KASAN: {what}"),
    _row("KASAN", r"BUG: KASA[Nn]: (?P<what>.+)", "BUG: KASAN: {what}"),
    _row(
        "KASAN",
        r"KASAN: (?P<what>(?:probably |maybe )?[\w-]+) in range \[",
        "KASAN: {what}",
        Role.DETAIL,
    ),
    _row("KFENCE", r"BUG: KFENCE: (?P<what>.+)", "BUG: KFENCE: {what}"),
    _row("KCSAN", r"BUG: KCSAN: (?P<what>.+)", "BUG: KCSAN: {what}"),
    _row("KMSAN", r"BUG: KMSAN: (?P<what>.+)", "BUG: KMSAN: {what}"),
    _row("UBSAN", r"UBSAN: (?P<what>.+ in [^\s:]+:\d+)(?::\d+)?$", "UBSAN: {what}"),
    _row(
        "kmemleak",
        r"kmemleak: \d+ new suspected memory leaks",
        "kmemleak: new suspected memory leaks",
        Role.LINE,
    ),
    _row(
        "kmemleak",
        r"(?:kmemleak: )?unreferenced object (?:\(percpu\) )?0x[0-9a-f]+ \(size \d+\)",
        "unreferenced object",
    ),
    # Locks
    _row("lockdep", _LOCKDEP + r"(?P<what>possible [\w ]+ detected)", "{level}: {what}"),
    _row(
        "lockdep",
        _LOCKDEP + r"(?P<what>inconsistent (?:\{[^}]*\} -> \{[^}]*\} )?lock state"
        r"|suspicious (?:RCU|rcu_dereference_check\(\)) usage|bad unlock balance detected"
        r"|bad contention detected|held lock freed|[Ii]nvalid wait context"
        r"|Nested lock was not taken|chain_key collision|lock held when returning to user space"
        r"|[\w-]+-safe -> [\w-]+-unsafe lock order detected"
        r"|soft-safe -> soft-unsafe lock order detected)",
        "{level}: {what}",
    ),
    _row("lockdep", _LOCKDEP + r"\S+/\d+ (?P<what>still has locks held)", "{level}: {what}"),
    _row("lockdep", r"INFO: trying to register non-static key"),
    _row("lockdep", r"BUG: MAX_(?:LOCK|STACK_TRACE)\w* too low"),
    _row("lockdep", r"BUG: key \S+ (?P<what>.+)", "BUG: key {what}", Role.MESSAGE),
    _row("lockdep", r"BUG: looking up invalid subclass: \d+", "BUG: looking up invalid subclass"),
    _row("lockdep", r"DEBUG_LOCKS_WARN_ON\(", "", Role.MESSAGE),
    _row("spinlock", r"BUG: (?P<what>(?:spin|rw)lock [\w ]+) on CPU", "BUG: {what}"),
    # Stalls
    _row(
        "rcu-stall",
        _RCU + r" (?P<what>self-detected stalls? on CPU|detected (?:expedited )?stalls?"
        r"(?: on [\w/]+)?)",
        "INFO: {flavour} {what}",
    ),
    _row(
        "rcu-stall",
        r"INFO: RCU detected CPU \d+ stall",  # until 2.6.3x
        "INFO: RCU detected CPU stall",
    ),
    _row("soft-lockup", _DOG + r"BUG: soft lockup", "BUG: soft lockup"),
    _row(
        "hard-lockup",
        _DOG + r"(?:CPU ?\d+: )?(?:Watchdog detected hard LOCKUP"
        r"|BUG: NMI Watchdog detected LOCKUP)",
        "Watchdog detected hard LOCKUP",
        Role.MESSAGE,  # of a WARN until 3.17
    ),
    _row(
        "hard-lockup",  # powerpc
        r"watchdog: CPU \d+ (?:(?P<what>self-detected|detected) )?[Hh]ard LOCKUP",
        "watchdog: {what} hard LOCKUP",
    ),
    _row(
        "hung-task",
        r"INFO: task (?P<comm>.{1,64}):\d+ blocked for more",
        "INFO: task {comm} blocked",
    ),
    _row(
        "hung-task",
        r"INFO: task (?P<comm>.{1,64}):\d+ can't die for more",
        "INFO: task {comm} can't die",
    ),
    _row(
        "hung-task", r"INFO: task (?P<comm>.{1,64}):\d+ blocked in I/O", "INFO: task {comm} blocked"
    ),
    _row(  # kernel/smp.c: csd_lock_wait_toolong()
        "csd-lock",
        r"(?:smp: )?csd: Detected non-responsive CSD lock",
        "csd: Detected non-responsive CSD lock",
    ),
    _row("workqueue-lockup", r"BUG: workqueue lockup", "BUG: workqueue lockup"),
    _row("workqueue-leak", r"BUG: workqueue leaked [\w, ]+", "BUG: workqueue leaked lock"),
    # Context
    _row(  # kernel/softirq.c: handle_softirqs()
        "preempt-count",
        r"(?:softirq: )?huh, entered softirq \d+ (?P<what>\w+) .*with preempt_count",
        "entered softirq {what}, and left it with another preempt_count",
        Role.LINE,
    ),
    _row(
        "sched-atomic",
        r"BUG: scheduling (?P<what>while atomic|in a non-blocking section)",
        "BUG: scheduling {what}",
    ),
    _row("sched-atomic", r"bad: scheduling from the idle thread"),
    _row("atomic-sleep", r"BUG: sleeping function called from (?:invalid|illegal) context at \S+"),
    _row("atomic-sleep", r"BUG: assuming (?:atomic|non migratable) context at \S+"),
    _row(
        "preemptible",
        r"BUG: using (?P<what>\S+\(\)) in preemptible",
        "BUG: using {what} in preemptible code",
    ),
    # Memory
    _row("bad-page", r"BUG: Bad page (?:state|map|cache): \d+ messages suppressed", "", Role.MORE),
    _row("bad-page", r"BUG: Bad page (?P<what>state|map|cache)", "BUG: Bad page {what}"),
    _row("bad-page", r"Bad page state in process", "Bad page state in process"),  # until 2.6.27
    _row(
        "bad-page",
        r"(?P<where>\S{1,64}:\d+): bad (?P<what>p[gu4m]d) ",
        "{where}: bad {what}",
        Role.LINE,
        needle=": bad p",
    ),
    _row(
        "bad-page",
        r"(?P<what>(?:_?swap_info_get|swap_free|swap_dup|get_swap_device): Bad swap "
        r"(?:file|offset) entry|(?:_?swap_info_get|swap_free|swap_dup): Unused swap \w+ entry)",
        "{what}",
        Role.LINE,
    ),
    _row(
        "bad-page",
        r".{1,32}: Corrupted page table at address",
        "Corrupted page table",
        Role.FAULT,
        needle="Corrupted page table",
    ),
    _row(
        "bad-rss",
        r"BUG: Bad rss-counter state mm:\S+ (?:type|idx):(?P<what>\w+)",
        "BUG: Bad rss-counter state {what}",
        Role.LINE,
    ),
    _row(
        "bad-rss",
        r"BUG: non-zero (?P<what>\w+) on freeing mm",
        "BUG: non-zero {what} on freeing mm",
        Role.LINE,
    ),
    _row(
        "negative-counter",
        r"vmstat_refresh: (?P<what>\w+) -\d+",
        "vmstat_refresh: {what} is negative",
        Role.LINE,
    ),
    _row(  # mm/page_poison.c: check_poison_mem(); v3.11's mm/debug-pagealloc.c
        "page-poison",
        r"pagealloc: (?P<what>memory corruption|single bit error)",
        "pagealloc: {what}",
    ),
    _row(  # kernel/resource.c: __release_region()
        "resource",
        r"(?:resource: )?Trying to free nonexistent resource",
        "Trying to free nonexistent resource",
        Role.LINE,
    ),
    _row(  # mm/page_owner.c: dec_stack_record_count()
        "page-owner",
        r"\w+: refcount went to 0 for \d+ handle",
        "page_owner: a stack has more pages freed than allocated",
        Role.LINE,
        needle="refcount went to 0 for",
    ),
    _row(  # mm/hugetlb.c: alloc_gigantic_folio(), alloc_buddy_hugetlb_folio()
        "hugetlb",
        r"HugeTLB:? unexpected (?:inflated folio ref count|refcount on PFN)",
        "HugeTLB: a page that was just allocated is somebody's",
        Role.LINE,
    ),
    _row(  # drivers/virtio/virtio_ring.c: BAD_RING()
        "virtio-ring",
        r"\S{1,32} \S{1,32}: \S{1,64}:id \d+ (?:is not a head!|out of range)",
        "virtio: a ring's buffer is not known",
        Role.LINE,
        needle=":id ",
    ),
    _row(  # kernel/rcu/rcu.h: debug_rcu_head_queue()'s callers
        "rcu-head",
        r"(?:rcu: )?\w+\(\): Double-freed CB",
        "Double-freed RCU callback",
        Role.LINE,
    ),
    _row(  # guest-modules/pinner/object.c: pinner_object_free()
        "owner",
        r"pinner: lost handle=\d+ pfn=0x[0-9a-f]+ when it was freed",
        "pinner: a page that was to be freed is not its owner's any more",
        Role.LINE,
    ),
    _row("KASAN", r"BUG \S+ \([^)]*\): kasan: bad access detected", "", Role.MORE),
    _row(
        "SLUB",
        r"BUG (?P<cache>[^\s(]{1,64}) ?\((?:Not tainted|Tainted)[^)]*\): (?P<what>.+)",
        "BUG {cache}: {what}",
        Role.MESSAGE,  # since 6.15 (and in stable kernels) a WARN follows the dump
    ),
    _row(
        "SLUB",  # until 2.6.3x without the taint
        r"BUG (?P<cache>[^\s(:]{1,64}): (?P<what>(?:[\w-]+ ){0,6}"
        r"(?:overwritten|padding|freepointer|corrupt\w*|[Oo]bject\w*|free|incorrect|redzone|poison))",
        "BUG {cache}: {what}",
    ),
    _row(
        "SLUB",  # SLAB, until 6.7
        r"Slab corruption(?: \([^)]*\))?: (?:start=\S+ len=\d+|(?P<cache>\S+) start=\S+ len=\d+)",
        "Slab corruption: {cache}",
    ),
    _row("SLUB", r"slab error in (?P<what>[^:]+: .+)", "slab error in {what}"),
    _row(
        "list-corruption",
        r"(?:list_(?:add|del)|plist|klist)(?: \w+)? (?:corruption|double add)",
        "",
        Role.MESSAGE,
    ),
    _row("refcount", r"refcount_t: .+", "", Role.MESSAGE),
    _row(
        "ODEBUG",
        r"ODEBUG: (?P<what>.+?) object(?: type|:).*?(?: type: (?P<type>\S+).*)?$",
        "ODEBUG: {what} object type: {type}",
        Role.MESSAGE,
    ),
    _row(
        "usercopy",
        r"(?:usercopy: )?Kernel memory (?P<what>exposure|overwrite) attempt",
        "usercopy: Kernel memory {what} attempt",
        Role.MESSAGE,
    ),
    _row(
        "fortify",
        r"(?:[\w: ]{1,64}: )?detected buffer overflow",
        "",
        Role.MESSAGE,
        needle="detected buffer overflow",
    ),
    _row(
        "fortify",
        r"memcpy: detected field-spanning write .*?\bof (?P<what>single field.*)",
        "memcpy: detected field-spanning write of {what}",
        Role.MESSAGE,
    ),
    _row(
        "OOM", r"(?:(?!: ).){1,16} invoked oom-killer: ", "invoked oom-killer", needle="oom-killer"
    ),
    _row("OOM", r"oom-kill:constraint=", "oom-kill", Role.MORE),
    _row(
        "OOM",
        r"(?P<what>(?:Memory cgroup o|O)ut of memory.*?): Kill(?:ed)? process \d+ "
        r"(?P<comm>\([^)]*\))",
        "{what}: Killed process {comm}",
        Role.DETAIL,
    ),
    _row("OOM", r"Out of memory and no killable processes", "", Role.DETAIL),
    _row(
        "alloc-failure",
        r".{1,64}: page allocation failure[.:] ?(?P<what>order:\d+), mode",
        "page allocation failure: {what}",
        needle="page allocation failure",
    ),
    _row(
        "alloc-failure",
        r".{1,64}: (?P<what>page allocation stalls|vmalloc error)",
        "{what}",
        needle="alloc",
    ),
    _row(
        "alloc-failure",
        r"SLUB: Unable to allocate memory on (?:CPU|node)",
        "SLUB: Unable to allocate memory",
    ),
    # Stacks
    _row(
        "stack-overflow",
        r"BUG: (?:(?P<what>.{1,40}) )?stack guard page was hit",
        "BUG: {what} stack guard page was hit",
        Role.FAULT,
    ),
    _row(
        "stack-overflow",
        r"Insufficient stack space to handle exception",
        "Insufficient stack space to handle exception!",
        Role.FAULT,
    ),
    _row(
        "stack-overflow",
        r"(?:do_IRQ|irq): .{1,64} has overflown the kernel stack",
        "overflown the kernel stack",
        Role.MAYBE,
    ),
    # Faults and traps
    _row(
        "oops",
        r"BUG: unable to handle (?P<what>kernel NULL pointer dereference|"
        r"kernel paging request|page fault)",
        "BUG: unable to handle {what}",
        Role.FAULT,
    ),
    _row(
        "oops",  # the rest of it came as a message of its own, until 5.x
        r"BUG: unable to handle kernel ?$",
        "BUG: unable to handle kernel",
        Role.FAULT,
    ),
    _row(
        "oops",
        r"BUG: [Kk]ernel NULL pointer dereference",
        "BUG: kernel NULL pointer dereference",
        Role.FAULT,
    ),
    _row(
        "oops",
        r"(?:BUG: |CPU \d+ )?Unable to handle (?P<what>kernel [\w /-]+?|unknown paging fault)"
        r"(?: at| on|,| in virtual| \(|$)",
        "Unable to handle {what}",
        Role.FAULT,
    ),
    _row(
        "unhandled-fault",
        r"Unhandled (?P<what>fault|prefetch abort): (?P<more>[^(]+)",
        "Unhandled {what}: {more}",
        Role.FAULT,
    ),
    _row(
        "bad-mode",
        r"Bad mode in (?P<what>.+?) (?:handler )?detected",
        "Bad mode in {what}",
        Role.FAULT,
    ),
    _row(
        "bad-mode",
        r"Unhandled (?P<what>.+?) exception on CPU",
        "Unhandled {what} exception",
        Role.FAULT,
    ),
    _row("oops", r"Kernel Fault: Code=\d+", "Kernel Fault", Role.FAULT),  # parisc
    _row(
        "oops",
        r"Unrecoverable (?P<what>exception|FP Unavailable Exception|VMX/Altivec \w+ Exception)",
        "Unrecoverable {what}",
        Role.FAULT,
    ),
    _row("MCE", r"Machine check in kernel mode", "Machine check in kernel mode", Role.FAULT),
    _row("divide-error", r"Division by zero in kernel", "Division by zero in kernel"),
    _row("SError", r"SError Interrupt on CPU", "SError Interrupt", Role.FAULT),
    _row("double-fault", r"(?:traps: )?PANIC: double fault", "PANIC: double fault", Role.FAULT),
    _row("oops", r"PANIC: early exception", "PANIC: early exception", Role.FAULT),
    _row("CFI", r"CFI failure at (?P<what>\S+)", "CFI failure at {what}", Role.FAULT),
    _row("CFI", r"Missing ENDBR: (?P<what>\S+)", "Missing ENDBR: {what}", Role.MESSAGE),
    _row(
        "MSR",
        r"unchecked MSR access error: (?P<what>\w+ \w+ \w+)",
        "unchecked MSR access error: {what}",
    ),
    _row(
        "MCE",
        r"(?:mce: )?\[Hardware Error\]: CPU \d+: (?P<what>Machine Check(?: Exception)?)",
        "[Hardware Error]: {what}",
        Role.MORE,
        needle="[Hardware Error]",
    ),
    _row(
        "MCE",
        r"(?:mce: |\{\d+\}|[\w. ]{1,32}: )?\[Hardware Error\]: ?(?P<what>[^:]*)",
        "[Hardware Error]: {what}",
        Role.MORE,
        needle="[Hardware Error]",
    ),
    _row("irq", r"irq \d+: nobody cared", "irq: nobody cared"),
    _row("irq", r"irq event \d+: bogus return value", "irq event: bogus return value"),
    _row(
        "NMI",
        r"Uhhuh\. NMI received for unknown reason",
        "NMI received for unknown reason",
        Role.LINE,
    ),
    # Others that complain in one line
    _row(
        "unwinder",
        r"WARNING: kernel stack (?P<what>regs|frame pointer) at .{1,120} has bad",
        "WARNING: kernel stack {what} has bad value",
        Role.LINE,  # often in the middle of the trace that it is about
    ),
    _row(
        "refcount-leak",
        r"unregister_netdevice: waiting for (?P<what>\S+) to become free",
        "unregister_netdevice: waiting for {what} to become free",
        Role.LINE,
    ),
    _row(
        "vfs",
        r"VFS: (?P<what>Busy inodes after unmount|Close: file count is (?:0|zero))",
        "VFS: {what}",
        Role.MESSAGE,  # of a WARN since 6.x
    ),
    # WARN and BUG
    _row(
        "WARN",
        r"WARNING: (?:CPU: \d+ PID: \d+ at (?P<what>\S+(?: \S+)?)|at (?P<old>\S+:\d+ \S+))",
        "WARNING: at {what}{old}",
        Role.HEADER,
    ),
    _row(
        "WARN",
        r"WARNING: (?P<where>\S+:\d+) at (?P<what>\S+?),? CPU#\d+",
        "WARNING: at {where} {what}",
        Role.HEADER,
    ),
    _row(
        "WARN",  # powerpc, until 2.6.3x
        r"Badness (?:in \S+ )?at (?P<what>\S+:\d+)",
        "Badness at {what}",
        Role.HEADER,
    ),
    _row("BUG", r"[Kk]ernel BUG at (?P<what>\S+)", "kernel BUG at {what}", Role.HEADER),
    _row("BUG", r"BUG: failure at (?P<what>\S+)", "BUG: failure at {what}", Role.HEADER),
    # The rest, believed when a stack trace follows
    _row("BUG", r"BUG: \S.*", "", Role.MAYBE),
    _row(
        "lockdep",
        r"\[ (?P<level>BUG|INFO|WARNING): (?P<what>.+?)[!.]? \]$",
        "{level}: {what}",
        Role.MAYBE,
    ),
    _row("WARN", r"WARNING: \S.*", "", Role.MAYBE),
)
