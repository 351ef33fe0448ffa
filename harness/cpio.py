# SPDX-License-Identifier: GPL-2.0-only
"""Writes cpio archives of the "newc" kind, as the kernel unpacks them into its first root.

The kernel takes several archives one after another, compressed or not, when each begins on a
multiple of four bytes: ``archive`` gives one that ends on it, ``pad`` brings another file there.
See Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"
_ALIGN = 4


@dataclass(frozen=True)
class Entry:
    """One entry. mode holds the type and the permissions; data a file's content or a link's
    target; device the (major, minor) of a device node."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def char_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """An archive of the entries in their order: all owned by root, times 0, so that equal
    entries give equal bytes. A folder has to come before what is in it."""
    out = bytearray()
    for inode, entry in enumerate(entries, 1):
        out += _member(inode, entry)
    out += _member(0, Entry(_TRAILER, 0))
    return bytes(out)


def pad(data: bytes) -> bytes:
    """data, with zeros up to where another archive may begin."""
    return data + bytes(-len(data) % _ALIGN)


def _member(inode: int, entry: Entry) -> bytes:
    path = entry.path.lstrip("/").encode()
    if not path or b"\0" in path:
        raise ValueError(f"no path for a cpio archive: {entry.path!r}")
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, major, minor)
    fields = "".join(f"{number:08x}" for number in (*numbers, len(path) + 1, 0))
    head = b"070701" + fields.encode() + path + b"\0"
    return pad(head) + pad(entry.data)
