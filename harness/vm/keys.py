# SPDX-License-Identifier: GPL-2.0-only
"""The keys of one run: ours, which the guest lets in, and the guest's own, which we expect."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import cpio

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class Keys:
    """client: our private key, and text the same for a file. host: the guest's public key.
    entries: what goes into the guest's first root for both."""

    client: paramiko.Ed25519Key
    host: paramiko.PKey
    entries: tuple[cpio.Entry, ...] = field(repr=False)
    text: str = field(repr=False)


def make() -> Keys:
    """New keys; ours is on the host's disk only with a saved guest that it lets us into, and for as
    long as others are told how to come in (reach.py); the guest's only inside the guest's image."""
    own = _openssh(Ed25519PrivateKey.generate())
    client, host = _client(own), Ed25519PrivateKey.generate()
    entries = (
        cpio.folder("root", 0o700),
        cpio.folder("root/.ssh", 0o700),
        cpio.file("root/.ssh/authorized_keys", _authorized(client), 0o600),
        cpio.folder("etc"),
        cpio.folder("etc/dropbear", 0o700),
        cpio.file("etc/dropbear/dropbear_ed25519_host_key", dropbear(host), 0o600),
    )
    return Keys(client, _client(_openssh(host)), entries, own)


def to_text(access: Keys) -> dict[str, str]:
    """What it takes to be let into a guest that was saved."""
    return {"client": access.text, "host": access.host.get_base64()}


def from_text(text: Mapping[str, str]) -> Keys:
    """The keys of a guest that was saved; ValueError where they are none."""
    try:
        host = paramiko.Ed25519Key(data=base64.b64decode(text["host"], validate=True))
        return Keys(_client(text["client"]), host, (), text["client"])
    except (KeyError, TypeError, paramiko.SSHException) as error:
        raise ValueError(f"these are no keys: {error}") from error


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


def _openssh(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()


def _client(text: str) -> paramiko.Ed25519Key:
    return paramiko.Ed25519Key(file_obj=io.StringIO(text))


def _authorized(key: paramiko.PKey) -> bytes:
    return f"{key.get_name()} {key.get_base64()} pinpage\n".encode()
