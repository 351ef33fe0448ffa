# SPDX-License-Identifier: GPL-2.0-only
"""Bundles: what goes in comes out, what is missing is named, and what nobody bundled is refused."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_runs
import pytest
from made_runs import KEY, PATCHES

from harness import resources
from harness.errors import InfraError, InputError
from harness.model import Outcome, Silent
from harness.report import reread
from harness.stored import form, kept, pack, unpack

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return resources.cache()


@pytest.fixture
def folder(tmp_path: Path, cache_folder: Path) -> Path:
    digest = made_runs.initramfs(cache_folder)
    made_runs.build(cache_folder)
    digests = {**made_runs.TREE, "series": "34", "build": KEY, "image": digest}
    return made_runs.folder(tmp_path / "runs", digests=digests)


def packed(folder: Path, to: Path, **wanted: bool) -> Path:
    with kept.opened(str(folder), Silent()) as found:
        return pack.pack(found, to, pack.Wanted(**wanted), Silent()).path


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    return packed(folder, tmp_path / "a.pinpage.tar.xz")


# What goes in


def test_what_goes_in_comes_out(folder: Path, bundle: Path) -> None:
    with kept.opened(str(bundle), Silent()) as found:
        assert found.run["id"] == folder.name and not found.own
        inside = {p.relative_to(found.folder) for p in found.folder.rglob("*") if p.is_file()}
        was = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
        assert inside == was
        for name in was:
            assert (found.folder / name).read_bytes() == (folder / name).read_bytes(), name
        (kernel,) = found.run["inputs"]["kernels"]
        texts = [(found.folder / each["file"]).read_bytes() for each in kernel["patches"]]
        assert texts == [patch.text for patch in PATCHES]
        assert (found.folder / kernel["config"]).read_bytes() == made_runs.CONFIG
        temporary = found.folder
    assert not temporary.exists()


def test_with_binaries_it_has_what_boots(folder: Path, tmp_path: Path) -> None:
    with_binaries = packed(folder, tmp_path / "b.tar.xz", binaries=True)
    with kept.opened(str(with_binaries), Silent()) as found:
        assert found.manifest is not None and found.manifest.binaries is not None
        kernel = found.manifest.binaries["kernels"]["build"]
        assert (kernel["key"], kernel["vmlinux"]) == (KEY, None)
        assert (found.folder / kernel["image"]).read_bytes() == b"kernel"
        assert (found.folder / kernel["modules"]["pinner"]).read_bytes() == b"pinner"
        assert (found.folder / found.manifest.binaries["image"]).read_bytes() == b"cpio"
        assert not list(found.folder.rglob("vmlinux"))
    whole = packed(folder, tmp_path / "c.tar.xz", vmlinux=True)
    with kept.opened(str(whole), Silent()) as found:
        own = found.folder / "binaries" / "build"
        assert {"vmlinux", "build.json", "origins.json"} <= {path.name for path in own.iterdir()}
        assert (own / "symbols" / "pinner.ko").is_file()


def test_it_is_the_same_file_for_everybody_under_the_runs_name(
    folder: Path, tmp_path: Path
) -> None:
    first = packed(folder, tmp_path)
    assert first.name == f"{folder.name}{form.SUFFIX}"
    data = first.read_bytes()
    os.utime(folder / "events.jsonl", (0, 0))
    assert packed(folder, tmp_path).read_bytes() == data
    with tarfile.open(first) as tar:
        assert {(m.uid, m.uname, m.mtime, m.mode) for m in tar} == {(0, "", 0, 0o644)}
        assert {m.name.split("/")[0] for m in tar} == {folder.name}
        assert [m.name.split("/")[1] for m in tar.getmembers()[:2]] == ["bundle.json", "run.json"]


def test_one_unpacked_by_hand_is_as_good(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(bundle) as tar:
        tar.extractall(tmp_path / "hand", filter="data")
    (own,) = (tmp_path / "hand").iterdir()
    with kept.opened(str(own), Silent()) as found:
        assert found.manifest is not None and not found.own
    (own / "events.jsonl").write_text("other\n")
    with pytest.raises(InputError, match=r"events\.jsonl is not there, or no longer"):
        kept.opened(str(own), Silent()).__enter__()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inputs/patches/02-0002_two.patch", "inputs/patches/02-0002_two.patch is missing"),
        ("inputs/config", "inputs/config is missing"),
        ("events.jsonl", "events.jsonl is missing"),
        ("ledger.csv", "ledger.csv is missing"),
        ("treated/console.log", "treated/console.log is missing"),
    ],
)
def test_what_the_folder_lacks_is_named(
    folder: Path, tmp_path: Path, name: str, words: str
) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=words):
        packed(folder, tmp_path)
    (folder / name).symlink_to("/etc/passwd")  # and nothing is taken from elsewhere
    with pytest.raises(InputError, match=r"leads out"):
        packed(folder, tmp_path)
    assert not list(tmp_path.glob("*.xz")) + list(tmp_path.glob(".*"))


def test_binaries_that_are_thrown_away_are_named(
    folder: Path, tmp_path: Path, cache_folder: Path
) -> None:
    shutil.rmtree(cache_folder / "images")
    with pytest.raises(InputError, match=r"the guest's image sha256:.* is no longer in the cache"):
        packed(folder, tmp_path, binaries=True)
    made_runs.initramfs(cache_folder)
    (cache_folder / "builds" / KEY / "image").write_bytes(b"other")
    with pytest.raises(InputError, match=f"the build {KEY} is no longer in the cache"):
        packed(folder, tmp_path, binaries=True)
    assert packed(folder, tmp_path).is_file()


def test_a_run_without_inputs_without_an_end_or_without_a_kernel(
    tmp_path: Path, cache_folder: Path
) -> None:
    early = made_runs.folder(tmp_path / "1", Outcome.SKIP, inputs=None)
    with pytest.raises(InputError, match="does not hold what its run was made of"):
        packed(early, tmp_path)
    cut = made_runs.folder(tmp_path / "2", Outcome.INFRA, interrupted=True)
    with pytest.raises(InputError, match="interrupted"):
        packed(cut, tmp_path)
    unbuilt = made_runs.folder(tmp_path / "3", Outcome.BUILD, digests=made_runs.TREE)
    assert packed(unbuilt, tmp_path).is_file()
    with pytest.raises(InputError, match="booted no kernel"):
        packed(unbuilt, tmp_path, binaries=True)


def test_a_file_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="no/such/file"):
        packed(folder, tmp_path / "no" / "such" / "file")


# What comes in


def members(bundle: Path) -> Members:
    found: Members = []
    with tarfile.open(bundle) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member, file.read()))
    return found


def made(
    path: Path, parts: Members, *, announce: bool = True, tar_format: int = tarfile.USTAR_FORMAT
) -> Path:
    """A bundle of these members; announce: as its manifest says, whatever was changed in them."""
    if announce:
        top, text = parts[0]
        content = json.loads(text)
        for member, data in parts[1:]:
            name = member.name.partition("/")[2]
            if name in content["files"]:
                sha256 = hashlib.sha256(data).hexdigest()
                content["files"][name] = {"bytes": len(data), "sha256": sha256}
        parts[0] = (top, json.dumps(content).encode())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        for member, data in parts:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(lzma.compress(out.getvalue()))
    return path


def edited(parts: Members, change: Callable[[dict[str, Any]], object], at: int = 0) -> Members:
    """With a change to bundle.json, or to run.json where at is 1."""
    content = json.loads(parts[at][1])
    change(content)
    return [(m, json.dumps(content).encode() if i == at else d) for i, (m, d) in enumerate(parts)]


def renamed(parts: Members, at: int, name: str, **extra: object) -> Members:
    data = parts[at][1]
    changed = tarfile.TarInfo(name)
    for key, value in extra.items():
        setattr(changed, key, value)
    return [(changed, data) if i == at else (m, d) for i, (m, d) in enumerate(parts)]


def refused(path: Path, words: str, alone: str | None = None) -> None:
    """With one message, and nothing left behind; alone: where run.json alone is wanted."""
    before = set(Path(os.environ["TMPDIR"]).iterdir())
    with pytest.raises(InputError, match=words), kept.opened(str(path), Silent()):
        pass
    with pytest.raises(InputError, match=alone or words):
        kept.runs_of(str(path))
    assert set(Path(os.environ["TMPDIR"]).iterdir()) == before


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    where = tmp_path / "tmp"
    where.mkdir()
    monkeypatch.setenv("TMPDIR", str(where))
    monkeypatch.setattr("tempfile.tempdir", str(where))
    yield


TOP = "20260101T000000Z-compaction-6.12-x86_64-fixed-abcd"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{TOP}/../../evil", "not announced"),
        ("/etc/evil", "two folders at its top"),
        ("../evil", "two folders at its top"),
        ("evil", "no plain file below a folder"),
        (f"{TOP}/evil", "not announced"),
        (f"{TOP}/", "no plain file"),
        ("other/events.jsonl", "two folders"),
    ],
)
def test_names_that_nobody_bundled_are_refused(
    bundle: Path, tmp_path: Path, name: str, words: str
) -> None:
    refused(made(tmp_path / "x.xz", renamed(members(bundle), 3, name)), words)
    assert not list(tmp_path.rglob("evil"))


def test_a_member_is_taken_once(bundle: Path, tmp_path: Path) -> None:
    parts = members(bundle)
    refused(made(tmp_path / "x.xz", [*parts, parts[1]]), "'run.json' is there twice")


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "a//b", ".hidden", "a\nb", "a/b/c/d/e", "x" * 200]
)
def test_names_that_are_announced_are_looked_at_too(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    def announce(content: dict[str, Any]) -> None:
        content["files"][name] = {"bytes": 0, "sha256": "0" * 64}

    refused(made(tmp_path / "x.xz", edited(members(bundle), announce)), "bundle.json")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE],
)
def test_only_plain_files_are_taken(bundle: Path, tmp_path: Path, kind: bytes) -> None:
    parts = members(bundle)
    changed = renamed(parts, 3, parts[3][0].name, type=kind, linkname="/etc/passwd")
    refused(made(tmp_path / "x.xz", changed), "no plain file")


def test_headers_of_other_forms_are_refused(bundle: Path, tmp_path: Path) -> None:
    for form_of, name in ((tarfile.PAX_FORMAT, "\u00e9"), (tarfile.GNU_FORMAT, "n" * 150)):
        parts = renamed(members(bundle), 3, f"{TOP}/{name}")
        refused(made(tmp_path / "x.xz", parts, tar_format=form_of), "no plain file")


def test_a_file_and_a_folder_of_one_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    def announce(content: dict[str, Any]) -> None:
        content["files"]["inputs"] = {"bytes": 0, "sha256": "0" * 64}

    refused(made(tmp_path / "x.xz", edited(members(bundle), announce)), "inputs stands in it twice")


def test_sizes_and_contents_are_those_announced(bundle: Path, tmp_path: Path) -> None:
    parts = members(bundle)
    longer = [(m, d + b"x" if i == 3 else d) for i, (m, d) in enumerate(parts)]
    refused(made(tmp_path / "x.xz", longer, announce=False), "bytes, not the .* announced")
    parts = members(bundle)
    other = [(m, b"x" * len(d) if i == 3 else d) for i, (m, d) in enumerate(parts)]
    refused(made(tmp_path / "x.xz", other, announce=False), "damaged: it has another sha256")
    refused(made(tmp_path / "x.xz", members(bundle)[:-1], announce=False), "lacks")
    refused(made(tmp_path / "x.xz", members(bundle)[1:], announce=False), "does not begin with")
    refused(made(tmp_path / "x.xz", [], announce=False), "does not begin with")


def test_huge_ones_are_refused_before_a_byte_is_written(bundle: Path, tmp_path: Path) -> None:
    def swell(content: dict[str, Any]) -> None:
        content["files"]["events.jsonl"]["bytes"] = 1 << 40

    def many(content: dict[str, Any]) -> None:
        empty = {"bytes": 0, "sha256": "0" * 64}
        content["files"] |= {f"f{number}": empty for number in range(form.MOST_FILES)}

    def large(content: dict[str, Any]) -> None:
        content["files"]["run.json"]["bytes"] = reread.MOST_JSON + 1

    for change, words in (
        (large, "run.json has 67,108,865 bytes, and"),
        (swell, "unpacks to"),
        (many, "files"),
    ):
        parts = edited(members(bundle), change)
        refused(made(tmp_path / "x.xz", parts, announce=False), words)


def test_one_that_packs_too_well_ends_where_it_is_found_out(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "zeros.xz"
    path.write_bytes(lzma.compress(bytes(50 << 20)))
    refused(path, "something stands behind its end")
    parts = members(bundle)
    header = parts[0][0]
    header.size = 1 << 50
    path.write_bytes(lzma.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    refused(path, "does not begin with a bundle.json")
    path.write_bytes(lzma.compress(lzma.decompress(bundle.read_bytes()) + bytes(50 << 20)))
    refused(path, "something stands behind its end")
    path.write_bytes(lzma.compress(lzma.decompress(bundle.read_bytes()) + b"more"))
    refused(path, "something stands behind its end")
    monkeypatch.setattr(unpack, "MOST_BYTES", -(3 * 512 * form.MOST_FILES + form.MOST_MANIFEST))
    refused(bundle, "unpacks to more")


def test_more_memory_than_we_pack_with_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    path.write_bytes(lzma.compress(b"x" * 512, filters=filters))
    refused(path, "Memory usage limit")


def test_damage_and_cuts_are_told_at_every_place(bundle: Path, tmp_path: Path) -> None:
    data, path = bundle.read_bytes(), tmp_path / "x.xz"
    for at in range(8, len(data), len(data) // 40):
        path.write_bytes(data[:at])
        refused(path, "is refused")
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        # The checksum comes behind what it is of: that may be read, and be found wrong, before.
        refused(path, "is refused|is no JSON")
    for more in (b"x", data):
        path.write_bytes(data + more)
        refused(path, "something stands behind its end")


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    for data in (b"", b"text", b"\x1f\x8b" + bytes(50)):
        (tmp_path / "x").write_bytes(data)
        refused(tmp_path / "x", "no run's folder and no bundle", "no JSON")
    refused(tmp_path / "nothing", "there is no")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        refused(path, "no run's folder and no bundle", "no plain file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"seconds": NaN}', "NaN"),
        (b"\xff", "no JSON"),
        (b"[]", "not as its schema"),
        (b"9" * 5000, "no JSON"),
        (b"{}", "not as its schema"),
    ],
)
def test_json_is_looked_at_before_it_is_believed(
    bundle: Path, tmp_path: Path, text: bytes, words: str
) -> None:
    parts = members(bundle)
    parts[1] = (parts[1][0], text)
    refused(made(tmp_path / "x.xz", parts), words)
    parts = members(bundle)
    parts[0] = (parts[0][0], text)
    refused(made(tmp_path / "x.xz", parts, announce=False), "bundle.json|no JSON")
    plain = tmp_path / "run.json"
    plain.write_bytes(text)
    with pytest.raises(InputError, match=words):
        kept.runs_of(str(plain))


def test_references_have_to_lead_somewhere(bundle: Path, tmp_path: Path) -> None:
    parts = edited(members(bundle), lambda c: c.update(format=2))
    refused(made(tmp_path / "x.xz", parts), "its form is 2")
    parts = edited(members(bundle), lambda c: c.update(run="another"))
    refused(made(tmp_path / "x.xz", parts), "of another run")
    evil = [{"name": "build", "compat": 0, "config": "inputs/../../x", "patches": []}]
    parts = edited(members(bundle), lambda c: c["inputs"].update(kernels=evil), at=1)
    refused(made(tmp_path / "x.xz", parts), "not as its schema")


def test_binaries_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    whole = packed(folder, tmp_path / "b.tar.xz", binaries=True)

    def elsewhere(content: dict[str, Any]) -> None:
        content["binaries"]["kernels"]["build"]["image"] = "binaries/other"

    refused(made(tmp_path / "x.xz", edited(members(whole), elsewhere)), "binaries/other, which")


# Runs by the user's word


def test_the_runs_of_a_word(folder: Path, bundle: Path, tmp_path: Path) -> None:
    top = folder.parent
    made_runs.folder(top / "deeper" / "still", id="second")
    (top / "latest").symlink_to(folder.name)
    shutil.copy(bundle, top / f"third{form.SUFFIX}")
    (top / "notes.txt").write_text("x")
    (top / "loop").symlink_to(".")
    found = [run["id"] for run in kept.runs_of(str(top))]
    assert found == [folder.name, folder.name, "second"]
    for word in (folder, folder / "run.json", bundle):
        assert [run["id"] for run in kept.runs_of(str(word))] == [folder.name]
    (top / "deeper" / "still" / "second" / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"second: run\.json is no JSON"):
        kept.runs_of(str(top))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no run in"):
        kept.runs_of(str(tmp_path / "empty"))


def test_a_run_of_ours_has_a_name(cache_folder: Path, tmp_path: Path) -> None:
    own = made_runs.folder(resources.state() / "runs")
    (own.parent / "latest").symlink_to(own.name)
    for word in ("latest", own.name, str(own)):
        with kept.opened(word, Silent()) as found:
            assert found.own and found.run["id"] == own.name
    elsewhere = made_runs.folder(tmp_path / "elsewhere")
    with kept.opened(str(elsewhere / "run.json"), Silent()) as found:
        assert not found.own
    with pytest.raises(InputError, match="there is no "):
        kept.place("../runs/no-such-run")


def test_a_runs_id_is_a_folders_name(folder: Path) -> None:
    text = (folder / "run.json").read_text()
    for evil in ("../x", "", "a b", "\x1b[31m"):
        content = {**json.loads(text), "id": evil}
        (folder / "run.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="no run's id"):
            kept.opened(str(folder), Silent()).__enter__()


def test_a_run_that_does_anothers_again_is_not_ours(cache_folder: Path) -> None:
    from harness.model import Again

    for name, own in (("a", True), ("b", False)):
        path = made_runs.folder(resources.state() / "runs", id=name, again=Again("x", own, False))
        with kept.opened(str(path), Silent()) as found:
            assert found.own is own


def test_a_folders_files_are_plain_and_bounded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real = folder / "run.json", tmp_path / "real.json"
    text = run.read_bytes()
    real.write_bytes(text)
    ways: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: run.symlink_to(real), "symbolic links"),
        (lambda: os.mkfifo(run), "no plain file"),
        (run.mkdir, "cannot be read|no plain file"),
    )
    for make, words in ways:
        run.unlink()
        make()
        with pytest.raises(InputError, match=words):
            kept.runs_of(str(folder))
    run.rmdir()
    run.write_bytes(text)
    monkeypatch.setattr(reread, "MOST_JSON", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        kept.runs_of(str(folder))
