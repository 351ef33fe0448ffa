# SPDX-License-Identifier: GPL-2.0-only
"""What became of a guest, from what was seen of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import GuestCrash, GuestError, GuestHang, GuestLost
from harness.parse import blocked
from harness.vm import fate

BOOT = "[    0.000000] Linux version 6.12.0\n[    1.000000] Run /init as init process\n"
OOPS = """[    2.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    2.000001] #PF: supervisor read access in kernel mode
[    2.000002] Oops: Oops: 0000 [#1] SMP
[    2.000003] CPU: 0 UID: 0 PID: 60 Comm: sh Not tainted 6.12.0 #1
[    2.000004] RIP: 0010:pinner_store+0x10/0x20
[    2.000005] Call Trace:
[    2.000006]  <TASK>
[    2.000007]  vfs_write+0x10/0x20
[    2.000008]  </TASK>
[    2.000009] ---[ end trace 0000000000000000 ]---
"""
PANIC = "[    3.000000] Kernel panic - not syncing: sysrq triggered crash\n"
HUNG = """[  130.000000] INFO: task sh:60 blocked for more than 120 seconds.
[  130.000001]       Not tainted 6.12.0 #1
[  130.000002] task:sh state:D stack:0 pid:60 tgid:60 ppid:1 flags:0x00000002
[  130.000003] Call Trace:
[  130.000004]  __schedule+0x10/0x20
"""


WAITS = blocked.Task("dd", 7, None, ("folio_wait",), "folio_wait+0x8/0x10")


def judge(
    console: str,
    status: int | None,
    reason: str = "",
    said: str = "",
    tasks: tuple[blocked.Task, ...] = (),
) -> GuestError:
    return fate.judge(
        fate.Scene(
            waiting="`true`",
            problem="it did not end within 9 s",
            status=status,
            reason=reason,
            said=said,
            console=console,
            log=Path("console.log"),
            tasks=tasks,
        )
    )


@pytest.mark.parametrize(
    ("console", "status", "kind", "words"),
    [
        (BOOT, None, GuestHang, "`true`: it did not end within 9 s"),
        (BOOT + HUNG, None, GuestHang, "did not end"),
        (BOOT + OOPS, None, GuestCrash, "pinner_store"),
        (BOOT + PANIC, None, GuestCrash, "sysrq triggered crash"),
        (BOOT + PANIC, 0, GuestCrash, "sysrq triggered crash"),
        (BOOT + OOPS + PANIC, 0, GuestCrash, "panic|pinner_store"),
        (BOOT + OOPS, 0, GuestCrash, "pinner_store"),
        (BOOT, -9, GuestLost, "QEMU was killed by SIGKILL"),
        (BOOT + PANIC, -9, GuestLost, "QEMU was killed by SIGKILL"),
        (BOOT, 1, GuestLost, "QEMU ended with status 1"),
        ("", None, GuestHang, "did not end"),
    ],
)
def test_outcomes(console: str, status: int | None, kind: type, words: str) -> None:
    error = judge(console, status)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error
    assert error.console == "".join(line + "\n" for line in console.splitlines()[-20:]).rstrip()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("guest-reset", "reset itself without a word"),
        ("guest-shutdown", "powered itself off"),
        ("host-qmp-quit", r"QEMU ended \(host-qmp-quit\)"),
        ("", "QEMU ended while"),
    ],
)
def test_a_quiet_end_says_why_qemu_ended(reason: str, words: str) -> None:
    with pytest.raises(GuestLost, match=words):
        raise judge(BOOT, 0, reason)


def test_what_qemu_said_and_the_last_lines_are_quoted() -> None:
    error = judge(BOOT, 1, said="qemu: out of something")
    assert "out of something" in error.detail and "Run /init" in error.detail
    assert [splat.kind for splat in judge(BOOT + HUNG, None).splats] == ["hung-task"]


def test_who_waits_is_named_and_their_stacks_go_along() -> None:
    error = judge(BOOT, None, tasks=(WAITS,))
    assert str(error).endswith("it did not end within 9 s; dd (7) waits in folio_wait")
    assert [(each.kind, each.report) for each in error.splats] == [("stuck", WAITS.report)]
    assert "end of the console's log" in error.hint
