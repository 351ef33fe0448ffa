# SPDX-License-Identifier: GPL-2.0-only
"""The keys of one run: ours, which the guest lets in, and the guest's own, which we expect."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import cpio

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class Keys:
    """client: our private key. host: the guest's public key. entries: what goes into the
    guest's first root for both."""

    client: paramiko.Ed25519Key
    host: paramiko.PKey
    entries: tuple[cpio.Entry, ...] = field(repr=False)


def make() -> Keys:
    """New keys; neither is ever on the host's disk but inside the guest's image."""
    client, host = _paramiko(Ed25519PrivateKey.generate()), Ed25519PrivateKey.generate()
    entries = (
        cpio.folder("root", 0o700),
        cpio.folder("root/.ssh", 0o700),
        cpio.file("root/.ssh/authorized_keys", _authorized(client), 0o600),
        cpio.folder("etc"),
        cpio.folder("etc/dropbear", 0o700),
        cpio.file("etc/dropbear/dropbear_ed25519_host_key", dropbear(host), 0o600),
    )
    return Keys(client, _paramiko(host), entries)


def dropbear(key: Ed25519PrivateKey) -> bytes:
    """A private key as dropbear keeps it: two SSH strings (RFC 4251), the key's type, and its
    seed and public half together."""
    seed = key.private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    return _string(_TYPE) + _string(seed + public)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _paramiko(key: Ed25519PrivateKey) -> paramiko.Ed25519Key:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return paramiko.Ed25519Key(file_obj=io.StringIO(text.decode()))


def _authorized(key: paramiko.PKey) -> bytes:
    return f"{key.get_name()} {key.get_base64()} pinpage\n".encode()
