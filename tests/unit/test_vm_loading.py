# SPDX-License-Identifier: GPL-2.0-only
"""Modules that a user names."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import GuestCommandError, InputError
from harness.model import CommandResult
from harness.vm import loading
from harness.vm.loading import Wanted


def test_names_and_parameters(tmp_path: Path) -> None:
    assert loading.wanted("pinner") == Wanted("pinner", ())
    two = loading.wanted("pinner:mode=pinpage:private=1")
    assert two == Wanted("pinner", ("mode=pinpage", "private=1"))
    assert loading.wanted("x:list=1,2:flag").params == ("list=1,2", "flag")
    own = tmp_path / "my-mod.ko"
    own.write_bytes(b"")
    assert loading.wanted(f"{own}:a=b c") == Wanted("my_mod", ("a=b c",), own)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("", "no module"),
        (":mode=x", "no module"),
        ("pinner:", "''"),
        ("pinner:=1", "'=1'"),
        ("pinner:a=b\nc", "no parameter"),
        ("/no/such.ko", "/no/such.ko"),
        ("nosuch.ko", "nosuch.ko"),
    ],
)
def test_what_is_none(word: str, named: str) -> None:
    with pytest.raises(InputError, match="--module") as caught:
        loading.wanted(word)
    assert named in caught.value.message


def test_only_what_was_built(tmp_path: Path) -> None:
    modules = {"pinner": Path("pinner.ko"), "userpages": Path("userpages")}
    built = cast(Any, SimpleNamespace(modules=modules))
    loading.check([Wanted("pinner", ()), Wanted("other", (), tmp_path)], built)
    for name in ("nosuch", "userpages"):  # a program
        with pytest.raises(InputError, match=name) as caught:
            loading.check([Wanted(name, ())], built)
        assert "pinner" in caught.value.hint


class Guest:
    def __init__(self, *, there: bool = True, refuses: str = "") -> None:
        self.there, self.refuses = there, refuses
        self.done: list[str] = []

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        self.done.append(command)
        if command.startswith("["):
            return CommandResult(command, 0 if self.there else 1, b"", b"", 0)
        if command == "dmesg":
            return CommandResult(command, 0, b"one\ntwo: its reason\n", b"", 0)
        return CommandResult(command, int(bool(self.refuses)), b"", self.refuses.encode(), 0)

    def put(self, local: Path, remote: str) -> None:
        self.done.append(f"put {local} {remote}")

    def module(self, name: str) -> Path:
        return Path(f"/b/{name}.ko")


def load(guest: Guest, word: Wanted) -> None:
    loading.load(cast(Any, guest), word)


def test_loading() -> None:
    guest = Guest()
    load(guest, Wanted("pinner", ("mode=pinpage", "x=a b; reboot")))
    assert guest.done[-1] == "insmod /modules/pinner.ko mode=pinpage 'x=a b; reboot'"
    absent = Guest(there=False)
    load(absent, Wanted("pinner", ()))
    assert absent.done[1] == "put /b/pinner.ko /modules/pinner.ko"
    own = Guest()
    load(own, Wanted("my_mod", (), Path("/home/my-mod.ko")))
    assert own.done == ["put /home/my-mod.ko /tmp/my-mod.ko", "insmod /tmp/my-mod.ko"]


def test_a_refusal_has_the_kernels_reason() -> None:
    with pytest.raises(GuestCommandError, match="Invalid argument") as caught:
        load(Guest(refuses="insmod: can't insert: Invalid argument"), Wanted("pinner", ()))
    assert "two: its reason" in caught.value.detail
