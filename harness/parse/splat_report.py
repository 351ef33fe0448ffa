# SPDX-License-Identifier: GPL-2.0-only
"""A report while it is being read: which lines are its own, and when it is over.

A line that looks like a part of a report (a register, a frame, …) is taken at once. Any other is
kept in suspense: it belongs to the report if one of the first sort follows soon, and to somebody
else if not. How long "soon" is depends on what is still to come: a report that has not shown its
stack trace, or whose end marker has not been seen, is waited for longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from harness.model import Splat
from harness.parse.splat_formats import Headline, Role
from harness.parse.splat_headline import CONSEQUENCE
from harness.parse.splat_text import CODE, PLACE, SYMBOL, messages, scrub
from harness.parse.splat_trace import Guilty

MAX_REPORT_LINES = 4000
MAX_KEPT = 8192  # characters kept of one line

_LONG = frozenset({"lockdep", "OOM"})
_BOXED = frozenset({"KASAN", "KFENCE", "KCSAN", "KMSAN", "UBSAN"})  # between two lines of "="

CLOSING = re.compile(r"-{3}\[ end Kernel panic")
_END_TRACE = re.compile(r"-{3}\[ end trace")
# 43 underline what scripts/decodecode says of a disassembly, and no box of the kernel's is so long.
_BOX = re.compile(r"(?!={43}\s*$)={16,}\s*$")
_SEEN = re.compile(r"CPU: \d+ (?:PID|UID):|Pid: \d+, comm:|Modules linked in|Process \S+ \(pid:")

_PAGE_DUMP = re.compile(
    r"(?:page|head|folio)(?: dumped because)?: ?\S|(?:anon |ksm )?flags: 0x|raw: [0-9a-f]{8}"
    r"|head: [0-9a-f]{8}|page_type: |page_owner |page last |aops:|memcg:|page:[0-9a-f]{8,16} "
    r"|\[[\w ]{1,32} overwritten\] 0x|8<--- cut here ---"
    r"|kernel tried to execute |unable to execute userspace code"
)

_BODY = re.compile(
    # frames and their markers
    r"\s*\(?(?:\[?<[0-9a-f]{8,16}>\]? ?|\[[0-9a-f]{16}\] ?)+(?:\S|$)"
    r"|\s*\(?[A-Za-z_]\w{0,200}\)?(?: \[\w+\])? from [\w.]+\+0x"
    r"|\s*(?:\(?\? ?)?\(?[A-Za-z_$][\w$.]{0,200}\+0x[0-9a-f]+/0x"
    rf"|\s*(?:\? )?[A-Za-z_$][\w$.]{{0,200}}{PLACE}"
    r"|\s*</?(?:TASK|IRQ|NMI|SOFTIRQ|EOI|EOE|ENTRY_TRAMPOLINE|IST|#\w+|\w+-ISR)>"
    r"|\s*(?:Call [Tt]race|Backtrace|stack backtrace|Stack):"
    r"|\s*(?:\? )?0x[0-9a-f]{8,16}(?:/0x|$)"
    # registers and code
    r"|(?:RIP|EIP|RSP|RAX|RDX|RBP|R\d\d|EAX|ESI|EBP|FS|CS|DS|CR\d|DR\d|PKRU|Code|ORIG_RAX|IP)\s*:"
    r"|(?:RIP|EIP) {1,2}\[| RSP <|\#PF: |PGD |\*pde|IDT: |LDTR: |TR: |BAD$"
    r"|\s?(?:pc|lr|sp|pstate|x\d{1,2}|epc|ra|gp|tp|t\d|s\d{1,2}|a\d|status)\s*:|[PE]C is at"
    r"|LR is at|pgd = |EIP is at|\s(?:DS|ESI):"
    rf"|{CODE}|={{8}}\s*$|={{43}}\s*$"
    r"|(?:NIP|LR|MSR|CFAR|CTR|GPR\d\d)\b|Krnl (?:PSW|GPRS|Code)|REGS: |DAR: |TASK(?: =|: )"
    r"|Faulting instruction|Instruction (?:dump|DUMP):|Failing address|Last Breaking-Event"
    r"|\s{4,}(?:[0-9a-f]{16}(?: [0-9a-f]{16}){2}|[0-9a-f]{16}: |R:\d T:\d)"  # s390
    r"|[0-9a-f]{4}: [ 0-9a-f]{8}|Register r\d|Control: |Flags: |r\d{1,2}\s*: |Exception stack\("
    r"|\$ ?\d{1,2}\s+:|(?:Hi|Lo|Status|Cause|BadVA|PrId|Stack)\s*: "  # MIPS
    r"|\s{1,4}(?:ERA|CRMD|PRMD|EUEN|ECFG|ESTAT|BADV): ?|(?:pc|a\d|t\d|s\d) [0-9a-f]{16} "
    r"|(?:TSTATE|TPC|RPC|I7|[goli]\d): |Caller\["  # SPARC
    r"|\s?(?:IAOQ\[|IASQ: |s?r\d\d-\d\d |(?:IIR|IOR|RP\(r2\)|ORIG_R28)\b)"  # PA-RISC
    r"|Mem abort info|Data abort info|  (?:ESR|EC|SET|EA|FSC|ISV|CM|GCS|SF|SSE|Access size)\b"
    r"|(?:swapper|user) pgtable:|\[[0-9a-f]{8,16}\] (?:\*?pgd|address between|user address)"
    r"|(?:Task|IRQ|Overflow) stack: +\[|(?:ESR|FAR): 0x"
    # who and where
    r"|CPU: \d+ (?:PID|UID):|Hardware name:|Workqueue:|Modules linked in:|\[last unloaded"
    r"|task: |task:\S|Tainted: |Kernel Offset:|CPU features: 0x|Memory Limit:|PHYS_OFFSET|note: "
    r"|SMP: (?:stopping|failed)|Rebooting in|Dumping ftrace|---\[ end|Unloaded tainted|Oops"
    r"|Process \S+ \(pid|Thread overran|Disabling lock debugging|Shutting down cpus"
    # locks and contexts
    r"|in_atomic\(|preempt_count|RCU nest depth|Preemption disabled at|irq event stamp"
    r"|(?:hard|soft)irqs last|(?:\d+|no) locks? held|\s+#\d+:|INFO: lockdep is"
    r"|Showing all locks"
    r"|but (?:task|there are)|which lock|the existing|other info|Chain exists|\s+\*\*\* DEADLOCK"
    r"|and (?:this|the) |-> #\d|\s+(?:r?lock|sync)\(| Possible|\s+CPU0\b|rcu_scheduler_active"
    # stalls
    r"|rcu: |INFO: Stall ended before|Sending NMI|NMI backtrace|Task dump for CPU"
    r"|CPU#\d+ Utilization|\t#\d+:"
    r"|Showing busy workq|workqueue \S+: flags|\s+pwq \d|\s+(?:pending|in-flight|inactive):|pool \d"
    # memory
    r"|Mem-Info:|active_anon:| \w+:\d+ \w+:\d+|Node \d+ |lowmem_reserve|\d+ (?:total )?page"
    r"|(?:Free|Total) swap|\[ *(?:pid|\d+) *\] |Tasks state|addr:\S+ vm_flags|file:\S+ fault"
    r"|Slab 0x|Object|Redzone|Padding|Bytes b4|FIX |Allocated |Freed |The buggy|Memory state"
    r"|(?:Read|Write|Free) (?:of|at)|>?[ >][0-9a-f]{16}:|(?:read|write) to 0x|Reported by"
    r"|[0-9a-f]{8,16}: (?:[0-9a-f]{2} ){2}"
    r"|kfence-|kmemleak: +\S|  (?:comm|hex dump|backtrace|\[<)|    (?:[0-9a-f]{2} ){4}"
    r"|(?:mce: )?\[Hardware Error\]|handlers:|Disabling IRQ|Cpu \d+ Memory"
)

# What dump_stack() begins with (lib/dump_stack.c: dump_stack_print_info()), and what stands in
# front of it where somebody has asked for it: sysrq (drivers/tty/sysrq.c), a stall's report of all
# processors (lib/nmi_backtrace.c), fault injection (lib/fault-inject.c: fail_dump()).
_DUMP = re.compile(
    r"(?:CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: |Pid: \d+, comm: ).{1,32} (?:Not tainted|Tainted)"
)
_ASKED = re.compile(
    r"(?:sysrq|SysRq) ?: |[Ss]ending NMI |NMI backtrace for cpu|CPU\d+:$|FAULT_INJECTION: "
    r"|name \S+, interval \d"
)
_DUMPED = "stack-dump"
_POISON = "page-poison"  # whose page is dumped last (mm/page_poison.c: check_poison_mem())
_BEFORE = 80  # characters of a message that a title has

# What may follow the end marker; the registers once more, at once, if it killed.
_AFTER = re.compile(
    r"FIX \S+: |Disabling lock debugging|note: |PHYS_OFFSET:|CPU features: 0x|Memory Limit:"
    r"|Rebooting in|-{3}\[ end Kernel panic"
)
_REGISTERS = re.compile(
    r"(?:RIP|RSP|RAX|RDX|RBP|R\d\d|FS|CS|CR2|DR\d|PKRU|Code) ?: |RIP  \[| RSP <"
)

# A panic that only what killed a task can have led to.
_DEATH = re.compile(r"Kernel panic - not syncing: ?(?:.*Fatal exception|Attempted to kill|Aiee)")

# A user program's fault, with registers of its own behind it.
_PROGRAM_FAULT = re.compile(r"traps: |.{1,32}\[\d+\]: (?:segfault at|unhandled )")

_PROGRAM_COUNTER = re.compile(r"(?:RIP: (?:0010|e030):|pc : |PC is at |EIP is at |NIP \[|epc : )")


def _whole(pieces: list[tuple[int, str]]) -> Iterator[str]:
    """The lines that numbered messages make, those of one number being of one line: as long as they
    can be told apart in it. They cannot where one that stood between them is left out."""
    for _, same in groupby(pieces, key=lambda piece: piece[0]):
        line = ""
        for _, piece in same:
            if line and len(messages(line[-1] + piece)) == 1:
                yield line.rstrip("\r\n")
                line = ""
            line += piece
        yield line.rstrip("\r\n")


class Frame:
    """Lines that stand in front of a headline: "cut here" and a message, a box, a page dump."""

    def __init__(self) -> None:
        self.cut = False
        self.lines: list[tuple[int, str]] = []
        self.message = ""

    @property
    def first(self) -> int:
        return self.lines[0][0]

    @property
    def full(self) -> bool:
        return len(self.lines) > 40

    def add(self, number: int, raw: str, text: str = "") -> None:
        self.lines.append((number, raw[:MAX_KEPT]))
        if self.cut and not self.message:
            self.message = text.strip()

    @staticmethod
    def may_open(text: str) -> bool:
        return _BOX.match(text) is not None or _PAGE_DUMP.match(text) is not None

    def report(self) -> Report:
        """What was cut here, when the header line never came."""
        found = Headline("WARN", self.message or "cut here", Role.MESSAGE)
        (number, raw), before = self.lines[-1], self.lines[:-1]
        self.lines = before
        return Report(found, self if before else None, number, raw, self.message)


class Report:
    """One report, from its first line on; ``splat`` is what it comes to."""

    def __init__(
        self, found: Headline, frame: Frame | None, number: int, raw: str, text: str
    ) -> None:
        self.kind = found.kind
        self.callers: list[str] = []  # whose lines it takes, by caller id
        self.touched = number
        self.over = False
        self._title = found.text
        self._role = found.role
        self._fatal = found.fatal
        self._lines: list[tuple[int, str]] = list(frame.lines) if frame is not None else []
        self._suspense: list[tuple[int, str]] = []
        self._foreign = 0
        self._guilty = Guilty()
        self._guilty.headline(found.text)
        self._seen = False  # who and where: the body has begun
        self._died = found.role in (Role.DIE, Role.PANIC)
        self._ends = found.role in (Role.DIE, Role.PANIC, Role.HEADER) or found.kind in _BOXED
        self._boxed = found.kind in _BOXED
        self._done = False
        self._marked = False  # an end marker was seen
        self._panicked = found.role is Role.PANIC
        self._doubted = False  # its headline stood behind other text: a body has to follow
        self._borne = False  # out by a frame or a header, so it is none to doubt
        self._cut = False  # "cut here" came behind the message, its header is still to come
        if found.kind == "unknown":
            self._guilty.line(text)
        self.commit(number, raw)

    @property
    def first(self) -> int:
        return self._lines[0][0]

    @staticmethod
    def headless(text: str, before: str) -> Headline | None:
        """A register dump out of nothing: believed to be a report if an end marker follows. And who
        was running, which dump_stack() begins with: believed if a trace follows, and nobody has
        asked for it. before: the message before, of the same caller."""
        if _PROGRAM_COUNTER.match(text) and SYMBOL.search(text):
            return Headline("unknown", "report without its headline", Role.MAYBE)
        if _DUMP.match(text) and not _ASKED.match(before):
            behind = f" behind {before.strip()[:_BEFORE]!r}" if before.strip() else ""
            return Headline(_DUMPED, f"stack dump{behind}", Role.MAYBE)
        return None

    # --- questions --------------------------------------------------------------------------

    def expects_header(self) -> bool:
        """Whether the header of a WARN or BUG may still follow its message."""
        return self._role is Role.MESSAGE and not self._begun() and not self._died

    def doubt(self) -> None:
        """Believe it only if a body follows."""
        self._doubted = True

    def takes(self, text: str) -> bool:
        """Whether a line is certainly this report's."""
        return _BODY.match(text) is not None and not self._done

    @property
    def ended(self) -> bool:
        """Whether its end was seen; a panic may follow yet."""
        return self._done

    def complete(self) -> bool:
        """Whether nothing of this report is still to come but a panic."""
        return self._done and not self._died

    def unfinished(self) -> bool:
        """Whether the next line is more likely a part of this report than a new one."""
        if self._role is Role.MAYBE or self._done:
            return False
        return self._ends or not self._guilty.traced

    def _begun(self) -> bool:
        return self._seen or self._done or self._guilty.traced

    def joins(self, found: Headline, text: str) -> bool:
        """Whether a headline goes on with this report instead of starting another."""
        role = found.role
        if role is Role.PANIC:
            related = found.kind in ("panic", self.kind) and not self._panicked
            if _DEATH.match(text):
                dying = self._died or self._role is Role.FAULT or self.kind in ("OOM", "unknown")
                related = related and dying
            return related and CONSEQUENCE.match(text) is not None and self._believed()
        if role is Role.MESSAGE:
            if self._cut and self.expects_header():
                return True
            return self._role is Role.HEADER and self.kind == "WARN" and not self._begun()
        if role is Role.HEADER:
            return self.expects_header()
        if role is Role.DIE:
            announced = self._role in (Role.MESSAGE, Role.FAULT, Role.DETAIL) or self.kind == "BUG"
            return announced and not (self._died or self._done or self._guilty.traced)
        if role is Role.MORE:
            return found.kind == self.kind and not self._done
        if role is Role.DETAIL:
            if found.kind == "OOM":
                return self.kind == "OOM" and not self._done
            return not self._begun() and self._role in (Role.FAULT, Role.DIE)
        return False

    def _believed(self) -> bool:
        if self._doubted and not (self._borne or self._marked):
            return False
        if self._role is not Role.MAYBE:
            return True
        return self._marked if self.kind == "unknown" else self._guilty.traced

    # --- lines ------------------------------------------------------------------------------

    def join(self, found: Headline, number: int, raw: str, text: str) -> None:
        """Take a headline in that belongs to this report."""
        role = found.role
        if role is Role.PANIC:
            self._fatal = self._panicked = self._died = self._ends = True
            self._done = False
        elif role is Role.DIE:
            self._died = self._ends = True
            if self._role is Role.MAYBE:
                self._rename(found)
        elif role is Role.HEADER:
            self._ends = True
            self._guilty.headline(found.text)
        elif role is Role.MESSAGE and self._role is Role.HEADER:
            self._rename(found)
        elif role is Role.DETAIL:
            self._rename(found)
            self._done = found.kind == "OOM"
        self.commit(number, raw)

    def _rename(self, found: Headline) -> None:
        self.kind, self._title, self._role = found.kind, found.text, found.role

    def cut_here(self, number: int, raw: str) -> None:
        """The line that opens a WARN or BUG, behind what it will say."""
        self._cut = True
        self.commit(number, raw)

    def commit(self, number: int, raw: str) -> None:
        """A line of this report; with it everything that was in suspense before it."""
        self._lines += self._suspense
        self._lines.append((number, raw[:MAX_KEPT]))
        self._suspense = []
        self._foreign = 0
        self.touched = number
        self.over = self.over or len(self._lines) > MAX_REPORT_LINES

    def add(self, number: int, raw: str, text: str) -> bool:
        """Offer a line; whether it is certainly this report's. Sets ``over`` at its end."""
        if self._own(text):
            self._guilty.line(text)
            self._seen = self._seen or _SEEN.match(text) is not None
            self._borne = self._borne or self._begun() or SYMBOL.search(text) is not None
            self.commit(number, raw)
            return True
        self._suspense.append((number, raw[:MAX_KEPT]))
        self._foreign += bool(text.strip())
        patience = self._patience()
        self.over = self._foreign > patience or len(self._suspense) > 4 * patience
        if self._guilty.traced and not self._ends and _PROGRAM_FAULT.match(text):
            self.over = True
        return False

    def _own(self, text: str) -> bool:
        if self._done:
            again = self._died and self._foreign == 0 and _REGISTERS.match(text) is not None
            return again or _AFTER.match(text) is not None
        if _END_TRACE.match(text) or (self._panicked and text.startswith("Kernel Offset:")):
            self._done = self._marked = True
            return True
        if self._boxed and _BOX.match(text) and (self._guilty.traced or self.kind != "KASAN"):
            self._done = True
            return True
        if text.startswith("8<--- cut here"):
            return False  # opens the next one
        if _PAGE_DUMP.match(text):
            # Behind a trace, and where none may come: of the next report.
            before = self.kind != _DUMPED and not self._guilty.traced
            return before or self._ends or self.kind == _POISON
        return _BODY.match(text) is not None

    def _patience(self) -> int:
        if (self._role is Role.MAYBE and not self._begun()) or (self._doubted and not self._borne):
            return 3
        if self._done:
            return 12
        if not self._guilty.traced:
            return 200 if self.kind in _LONG else 40
        return 40 if self._ends else 12

    # --- result -----------------------------------------------------------------------------

    def splat(self) -> Splat | None:
        """The finished report; None when it turned out to be none."""
        if not self._believed():
            return None
        return Splat(
            kind=self.kind,
            title=scrub(self._title) or self.kind,
            function="" if self.kind == "OOM" else self._guilty.name,
            first_line=self._lines[0][0],
            last_line=self._lines[-1][0],
            report="\n".join(_whole(self._lines)),
            fatal=self._fatal,
        )
