# SPDX-License-Identifier: GPL-2.0-only
"""Series of patches: found by name or in the user's words, and applied without touching a tree.

A series is named (``none``, or a folder below ``patches/<kernel>/`` with a ``series`` file), or
it is the user's: FILE…, a DIR (its ``series`` file, or its patches in the order of their names),
an MBOX, or a GITRANGE (``REPO:A..B``; ``A..B`` in the repository given with --tree). Several of
them go one on top of the other: ``fixed my.patch``. A name of ours comes before a file of the
same name: write ``./fixed`` for the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness import cache as store
from harness import resources
from harness.build import git, patchfile
from harness.build.overlay import apply
from harness.errors import InputError
from harness.model import Kernel, Patch, Series, SourceTree

__all__ = ["apply", "known", "load"]

NONE = "none"
# No ref begins or ends with a slash (git-check-ref-format(1)), as ../ of a path would have it.
_RANGE = re.compile(r"(?:(?P<repo>.*):)?(?P<range>[^:]*[^.:/]\.\.[^.:/][^:]*|[^:]*[^.:/]\.\.)")


def known(kernel: Kernel) -> list[str]:
    """Names of the kernel's own series, but for the one that is always beneath."""
    folder = resources.patches() / kernel.patches
    names = {path.parent.name for path in folder.glob("*/series")}
    return [NONE, *sorted(names - {kernel.compat})]


def load(
    words: tuple[str, ...],
    kernel: Kernel,
    source: SourceTree,
    without: Sequence[str] = (),
    *,
    upto: str = "",
    top: Sequence[str] = (),
) -> Series:
    """The series that these words name, on top of what the kernel needs for today's tools.

    without: patches that are left out, by the begin of their names. Where others are built on one,
    ``patches/<kernel>/without/`` has a patch of its name that takes it back, and goes on top
    of the word that has it. upto: the begin of the last patch's name; those behind it are left out.
    top: words that go on top of that. InputError says which word names nothing.
    """
    wanted = _wanted(words, kernel, source, without, upto, top)
    beneath = _part(kernel.compat, kernel, source).patches if kernel.compat else ()
    patches = _apart([*beneath, *wanted.patches])
    whole = _series(wanted.name, patches, wanted.origin, wanted.git)
    return replace(whole, compat=len(beneath))


def _apart(patches: Sequence[Patch]) -> list[Patch]:
    """The patches, those whose name is another's already by one of their own: names tell who
    brought a line."""
    found, taken = list[Patch](), set[str]()
    for patch in patches:
        name, number = patch.name, 1
        while name in taken:
            number += 1
            name = f"{Path(patch.name).stem}~{number}{Path(patch.name).suffix}"
        taken.add(name)
        found.append(replace(patch, name=name))
    return found


def _without(parts: Sequence[Series], names: Sequence[str], kernel: Kernel) -> list[Series]:
    """The parts of a series without the patches that these names begin."""
    for name in names:
        _begun(parts, name, "--without")
    return [_less(part, names, kernel) for part in parts]


def _begun(parts: Sequence[Series], name: str, option: str) -> Patch:
    """The one patch whose name begins so; InputError where there is none, or more."""
    every = [patch for part in parts for patch in part.patches]
    found = [patch for patch in every if patch.name.startswith(name)]
    if len(found) != 1:
        what = "no patch" if not found else f"{len(found)} patches"
        raise InputError(
            f"{option} {name}: {what} of series {parts[0].name if parts else NONE} begin with that",
            hint=f"it has {', '.join(patch.name for patch in every) or 'none'}",
        )
    return found[0]


def _less(series: Series, names: Sequence[str], kernel: Kernel) -> Series:
    patches, origin = list(series.patches), series.origin
    for name in names:
        found = [patch for patch in series.patches if patch.name.startswith(name)]
        if not found:
            continue
        back = resources.patches() / kernel.patches / "without" / found[0].name
        taken = patchfile.single(back) if back.is_file() else None
        if taken is not None:
            patches.append(replace(taken, name=f"without-{taken.name}"))
        else:
            patches.remove(found[0])
        origin += f", without {found[0].name}"
    if origin == series.origin:
        return series
    return _series(series.name, patches, origin, series.git)


def _upto(parts: Sequence[Series], name: str) -> list[Series]:
    """The parts up to the patch that this name begins."""
    kept, last = list[Series](), _begun(parts, name, "--upto")
    for part in parts:
        if last in part.patches:
            patches = part.patches[: part.patches.index(last) + 1]
            origin = f"{part.origin}, up to {last.name}"
            return [*kept, _series(part.name, patches, origin, part.git)]
        kept.append(part)
    return kept


def _wanted(
    words: tuple[str, ...],
    kernel: Kernel,
    source: SourceTree,
    without: Sequence[str],
    upto: str,
    top: Sequence[str],
) -> Series:
    parts = [_part(word, kernel, source) for word in words if word != NONE]
    if parts and not any(part.patches for part in parts):
        raise InputError(f"there is no diff in {', '.join(words)}")
    parts = _without(parts, without, kernel)
    if upto:
        parts = _upto(parts, upto)
    parts += [_part(word, kernel, source) for word in top]
    if not parts:
        return _series(NONE, [], "no patches")
    if len(parts) == 1:
        return parts[0]
    patches = [patch for part in parts for patch in part.patches]
    repositories = {part.git for part in parts if part.git is not None}
    if len(repositories) > 1:
        raise InputError(
            f"the ranges of {' '.join(words)} are of several repositories",
            hint="fetch one into the other, and name both ranges there",
        )
    origin = ", ".join(part.origin for part in parts)
    return _series(parts[0].name, patches, origin, *repositories)


def _part(word: str, kernel: Kernel, source: SourceTree) -> Series:
    """What one word names; InputError where it cannot be read."""
    try:
        return _meant(word, kernel, source)
    except OSError as error:
        named = f": {error.filename}" if error.filename is not None else ""
        raise InputError(
            f"--series {word}: it cannot be read{named}: {error.strerror}",
            hint="a patch is a plain file that you may read",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"--series {word}: its series file is no UTF-8 text") from error


def _meant(word: str, kernel: Kernel, source: SourceTree) -> Series:
    """What one word names; a file without a diff is a series of no patches."""
    named = resources.patches() / kernel.patches / word
    if re.fullmatch(r"[\w.-]+", word) and (named / "series").is_file():
        patches = [replace(patch, ours=True) for patch in _listed(named / "series")]
        return _series(word, patches, f"series {word}")
    for find in (_folder, _mailbox, _range):
        found = find(word, source)
        if found is not None:
            return found
    path = _existing(word, kernel)
    patches, skipped = _files([path])
    return _series(path.name, patches, f"file {word}{skipped}")


def _series(
    name: str, patches: Sequence[Patch], origin: str, repository: Path | None = None
) -> Series:
    digest = store.key(*(patch.text for patch in patches))
    return Series(name, tuple(patches), digest, origin, repository)


def given(name: str, patches: Sequence[Patch], origin: str, compat: int) -> Series:
    """A series of these very patches, of which the first so many are beneath every other."""
    return replace(_series(name, patches, origin), compat=compat)


def prefixes(series: Series) -> Iterator[Series]:
    """The series up to its first patch, up to its second, and so on to the whole."""
    for count in range(series.compat + 1, len(series.patches) + 1):
        part = _series(series.name, series.patches[:count], series.origin, series.git)
        yield replace(part, compat=series.compat)


def _existing(word: str, kernel: Kernel) -> Path:
    path = resources.path(word)
    if path.is_file():
        return path
    raise InputError(
        f"there is no series {word!r} for kernel {kernel.name}, and no such file",
        hint=f"known series: {', '.join(known(kernel))}; or FILE..., DIR, MBOX, REPO:A..B",
    )


def _files(files: Sequence[Path]) -> tuple[list[Patch], str]:
    """The patches in these files, and a remark on the letters that hold no diff.

    InputError for what is neither: a run without it would say nothing of it.
    """
    found = [(path, patchfile.single(path)) for path in files]
    for path, patch in found:
        if patch is None and not patchfile.is_mail(path.read_bytes()):
            raise InputError(
                f"there is no diff in {path}, and it is no letter",
                hint="leave it out, or look what it is: an empty file, a page that was saved?",
            )
    skipped = [path.name for path, patch in found if patch is None]
    patches = [patch for _, patch in found if patch is not None]
    return patches, _remark(skipped)


def _remark(skipped: Sequence[str]) -> str:
    return f" (no diff in {', '.join(skipped)}: skipped)" if skipped else ""


def _folder(word: str, source: SourceTree) -> Series | None:
    folder = resources.path(word)
    if not folder.is_dir():
        return None
    if (folder / "series").is_file():
        return _series(folder.name, _listed(folder / "series"), f"folder {folder}")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".patch", ".diff"))
    if not files:
        raise InputError(f"{folder} holds no series file and no *.patch or *.diff")
    patches, skipped = _files(files)
    return _series(folder.resolve().name, patches, f"folder {folder}{skipped}")


def _listed(series: Path) -> list[Patch]:
    """The patches that a quilt-like series file lists, relative to it."""
    patches = []
    for number, line in enumerate(series.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{series}:{number}"
        if any(option != "-p1" for option in words[1:]):
            raise InputError(f"{where}: only -p1 is understood, not {' '.join(words[1:])}")
        path = series.parent / words[0]
        if Path(words[0]).is_absolute() or not path.is_file():
            raise InputError(f"{where}: there is no patch {words[0]} beside it")
        patch = patchfile.single(path)
        if patch is None:
            raise InputError(f"{where}: {words[0]} holds no diff")
        patches.append(patch)
    return patches


def _mailbox(word: str, source: SourceTree) -> Series | None:
    path = resources.path(word)
    if not path.is_file():
        return None
    data = path.read_bytes()
    if not patchfile.is_mail(data):
        return None
    letters = patchfile.letters(data)
    if len(letters) == 1:
        patches, skipped = _files([path])
        return _series(path.name, patches, f"file {word}{skipped}")
    patches, skipped = _ordered(letters, str(path), path.stem)
    return _series(path.stem, patches, f"mailbox {word}{skipped}")


def _ordered(letters: Sequence[patchfile.Letter], where: str, stem: str) -> tuple[list[Patch], str]:
    """The letters with a diff in the order of their [n/m], and a remark on the others."""
    with_diff = [letter for letter in letters if letter.diff]
    if not with_diff:
        raise InputError(f"there is no diff in {where}")
    numbers = [letter.number for letter in with_diff]
    if len(with_diff) > 1 and None not in numbers:
        if len(set(numbers)) < len(numbers) or len({number[1] for number in numbers if number}) > 1:
            raise InputError(
                f"{where} holds several versions of a series, or several series",
                hint="keep one of them in the mailbox ('b4 am' does)",
            )
        total = numbers[0][1] if numbers[0] else 0
        missing = set(range(1, total + 1)) - {number[0] for number in numbers if number}
        if missing:
            raise InputError(f"{where} lacks patch {min(missing)} of {total}")
        with_diff.sort(key=lambda letter: letter.number or (0, 0))
    patches = [
        Patch(f"{stem}-{i:04}" if len(with_diff) > 1 else stem, letter.subject, letter.text)
        for i, letter in enumerate(with_diff, 1)
    ]
    return patches, _remark([letter.subject or "?" for letter in letters if not letter.diff])


def _range(word: str, source: SourceTree) -> Series | None:
    match = _RANGE.fullmatch(word)
    if match is None or Path(word).exists():
        return None
    repository = resources.path(match["repo"]) if match["repo"] else source.git
    if repository is None:
        raise InputError(
            f"{word}: the range of which repository?",
            hint="write REPO:A..B, or give the repository with --tree GIT@REF",
        )
    if not repository.is_dir() or not git.is_repository(repository):
        raise InputError(f"{repository} is not the top of a git repository (--series {word})")
    repository = repository.resolve()
    first, last = (end or "HEAD" for end in match["range"].split(".."))
    ends = f"{git.commit(repository, first)}..{git.commit(repository, last)}"
    merges = git.text(["rev-list", "--merges", ends], repository=repository).split()
    if merges:
        raise InputError(
            f"{word} has {len(merges)} merges, the last is {merges[0][:12]}",
            hint="a series is a line of commits: name a range without merges",
        )
    patches = [_commit(repository, commit) for commit in _commits(repository, ends)]
    if not patches:
        raise InputError(f"{word} holds no commit", hint=f"git -C {repository} log {word}")
    return _series(word, patches, f"git {repository} {match['range']}", repository)


def _commits(repository: Path, ends: str) -> list[str]:
    return git.text(["rev-list", "--reverse", "--topo-order", ends], repository=repository).split()


_FORMAT = (
    *("format-patch", "--stdout", "-1", "--keep-subject", "--full-index", "--binary"),
    *("--no-signature", "--no-renames", "--no-ext-diff", "--no-textconv", "--zero-commit"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--no-attach", "--no-thread", "--no-cover-letter"),
)


def _commit(repository: Path, commit: str) -> Patch:
    text = git.run([*_FORMAT, commit], repository=repository).stdout
    subject = git.text(["log", "-1", "--format=%s", commit], repository=repository)
    return Patch(commit[:12], subject, text)
