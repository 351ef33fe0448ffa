# SPDX-License-Identifier: GPL-2.0-only
"""What became of a guest that did not do what it was asked: crashed, hung or lost. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import GuestCrash, GuestError, GuestHang, GuestLost
from harness.model import Splat
from harness.parse import splat
from harness.parse.blocked import Task
from harness.vm.console import PANIC, tail

# Reports after which the kernel has killed the task that made them: it may have held a lock.
DEADLY = frozenset(
    {
        *("BUG", "CFI", "GPF", "SError", "alignment", "bad-mode", "divide-error", "double-fault"),
        *("fortify", "int3", "invalid-opcode", "oops", "panic", "stack-corruption"),
        *("stack-overflow", "stack-segment", "undefined-instruction", "unhandled-fault"),
        "usercopy",
    }
)
_TASKS = 2  # that a sentence names
_RESET = "guest-reset"
_ENDS = {
    _RESET: "the guest reset itself without a word",
    "guest-shutdown": "the guest powered itself off",
    "guest-panic": "the guest told QEMU that it panicked",
}


@dataclass(frozen=True)
class Scene:
    """What is known at the moment when something went wrong.

    waiting: for what, as in "while waiting for …". problem: what was seen of it, as a clause.
    status: QEMU's exit status, negative for a signal, None while it runs. reason: QEMU's own
    word for why it ended, if its monitor gave one. said: what QEMU itself printed. tasks: who
    waits in it, and what its processors are at.
    """

    waiting: str
    problem: str
    status: int | None
    reason: str
    said: str
    console: str
    log: Path
    tasks: tuple[Task, ...] = ()


def judge(scene: Scene) -> GuestError:
    """The error to raise. What the kernel says of itself goes before what QEMU says of it, but
    a QEMU that was killed is lost whatever the guest was doing."""
    splats = tuple(splat.find(scene.console.splitlines()))
    last = tail(scene.console)
    if scene.status is not None and scene.status < 0:
        return _lost(f"QEMU was killed by {_signal(-scene.status)}", scene, splats)
    title = _panic(scene, splats)
    if title:
        return GuestCrash(
            f"the kernel crashed while waiting for {scene.waiting}: {title}",
            console=last,
            splats=splats,
            log=scene.log,
            hint="the report is in the log; vmlinux of the build has the symbols",
        )
    if scene.status is not None:
        return _lost(_ended(scene.status, scene.reason), scene, splats)
    tasks = [str(task) for task in scene.tasks]
    details = ["\n".join(["who waits, and who runs:", *tasks])] if tasks else []
    details += [f"the last lines of its console:\n{last}" if last else "its console is empty"]
    return GuestHang(
        "; ".join([f"{scene.waiting}: {scene.problem}", *tasks[:_TASKS]]),
        console=last,
        splats=(*splats, *(task.splat for task in scene.tasks)),
        log=scene.log,
        detail="\n".join(details),
        hint="whole stacks are at the end of the console's log"
        if tasks
        else "the console's last lines say how far it got",
    )


def _panic(scene: Scene, splats: Sequence[Splat]) -> str:
    """The title of what the kernel died of, "" if it did not."""
    titles = [splat.summary(each) for each in splats if each.fatal]
    if titles:
        return titles[-1]
    found = PANIC.search(scene.console.encode(errors="replace"))
    if found is not None:
        return found[0].decode(errors="replace")
    deadly = [splat.summary(each) for each in splats if each.kind in DEADLY]
    return deadly[-1] if deadly else ""


def _lost(what: str, scene: Scene, splats: tuple[Splat, ...]) -> GuestLost:
    last = tail(scene.console)
    parts = [f"QEMU said:\n{scene.said}" if scene.said else ""]
    parts += [f"the last lines of its console:\n{last}" if last else "its console is empty"]
    return GuestLost(
        f"{what} while waiting for {scene.waiting}",
        console=last,
        splats=splats,
        log=scene.log,
        detail="\n".join(part for part in parts if part),
        hint="run it again; if nobody killed QEMU, look for the host's out-of-memory killer",
    )


def _ended(status: int, reason: str) -> str:
    if status:
        return f"QEMU ended with status {status}"
    return _ENDS.get(reason, f"QEMU ended{f' ({reason})' if reason else ''}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
