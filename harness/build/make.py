# SPDX-License-Identifier: GPL-2.0-only
"""Runs the kernel's make in a workspace: argv, environment, progress, and what went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import proc
from harness.build import failure
from harness.build.failure import Failure, Kind
from harness.build.origin import Origins
from harness.build.workspace import Workspace
from harness.errors import CompileError, ConfigError, InfraError, MissingTool, PinpageError
from harness.model import PatchedTree, Progress

# The same input gives the same image: nothing of the moment or the machine gets in.
_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "pinpage",
    "KBUILD_BUILD_VERSION": "1",
}
# Variables that a user's shell may hold and that would reach the build past its key.
_CLEARED = (
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEFILES", "GNUMAKEFLAGS", "MAKEOVERRIDES"),
    *("ARCH", "CROSS_COMPILE", "LLVM", "LLVM_IAS", "O", "M", "V", "W", "C", "CF", "DEPMOD"),
    *("KBUILD_OUTPUT", "KBUILD_EXTMOD", "KBUILD_VERBOSE", "KBUILD_MODPOST_WARN"),
    *("KBUILD_SYMTYPES", "KBUILD_EXTRA_SYMBOLS", "KBUILD_CFLAGS_KERNEL", "KCONFIG_CONFIG"),
    *("KCONFIG_ALLCONFIG", "KCONFIG_OVERWRITECONFIG", "KCONFIG_WERROR", "KBUILD_KCONFIG"),
    *("KCFLAGS", "KCPPFLAGS", "KAFLAGS", "KRUSTFLAGS", "HOSTCFLAGS", "HOSTLDFLAGS"),
    *("LOCALVERSION", "INSTALL_MOD_PATH", "INSTALL_PATH", "CFLAGS", "CPPFLAGS", "LDFLAGS"),
    *("C_INCLUDE_PATH", "CPATH", "LIBRARY_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH"),
)
_SIGNALS = 128  # from here on a status says that a signal ended the program
_DRY_STEP = re.compile(rb"^\s*(?:set -e;\s+)?echo '  [A-Z][A-Z0-9_-]*(?: \[M\])? ", re.MULTILINE)
_CLEAN = ("env", *(word for name in _CLEARED for word in ("-u", name)))


def ccache() -> dict[str, str]:
    """ccache's mode (see ccache.sh), and a part of its cache that nobody else has written to."""
    return {"CCACHE_DEPEND": "1", "CCACHE_DIRECT": "1", "CCACHE_NAMESPACE": "pinpage"}


@dataclass
class Make:
    """make for one workspace. steps counts what Kbuild says that it did (CC, LD, …).

    identity: what the kernel says in /proc/version that it was built as, see kernel.identity().
    """

    work: Workspace
    tree: PatchedTree
    arch: str
    variables: Mapping[str, str]
    jobs: int
    log: Path
    progress: Progress
    identity: str
    expected: int | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)  # module → its own folder
    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def argv(self, *words: str) -> tuple[str, ...]:
        """The command, to be run anywhere, as a user may repeat it."""
        src, top = os.fspath(self.work.src), os.fspath(self.work.top)
        own = {
            name: value.replace("{src}", src).replace("{work}", top)
            for name, value in self.variables.items()
        }
        variables = {**own, **_REPRODUCIBLE, "KBUILD_BUILD_HOST": self.identity}
        return (
            *("make", "-C", src, f"O={self.work.obj}", f"ARCH={self.arch}"),
            *(f"{name}={value}" for name, value in sorted(variables.items())),
            f"-j{self.jobs}",
            *words,
        )

    def run(self, *words: str, on_line: Callable[[str], None] | None = None) -> None:
        """Run make; the first error of its output is raised as what it is."""
        argv = self.argv(*words)
        self.work.obj.mkdir(parents=True, exist_ok=True)
        done = self._run(argv, self.log, on_line)
        if done.status != 0:
            raise self._error(done, argv)

    def _run(
        self, argv: Sequence[str], log: Path | None, on_line: Callable[[str], None] | None
    ) -> proc.Completed:
        # The lock is inherited by every compiler: it is free when the last of them has ended,
        # however this process ends.
        words = [*_CLEAN, "flock", "--no-fork", os.fspath(self.work.make_lock), *argv]
        self.work.begin()
        done = proc.run(words, env=ccache(), log=log, on_line=on_line, check=False)
        if 0 <= done.status < _SIGNALS:
            self.work.ended()
        self.seconds += done.seconds
        self.cpu_seconds += done.cpu_seconds
        return done

    def expect(self, *targets: str) -> None:
        """Count the steps that these targets would take, by a dry run on a prepared tree.

        A dry run of the kernel ends at the link of vmlinux, whose parts are not there; by then
        it has told all that takes time.
        """
        self.build("prepare")
        said = self._run((*self.argv(*targets), "--dry-run"), None, None).stdout
        self.expected = self.steps + len(_DRY_STEP.findall(said))

    def build(self, *targets: str) -> None:
        """Run make and report each step."""
        self.run(*targets, on_line=self._step)

    def _step(self, line: str) -> None:
        if match := failure.STEP.match(line):
            self.steps += 1
            total = None if self.expected is None else max(self.expected, self.steps)
            self.progress.advance(self.steps, total, failure.plain(match[1], [f"{self.work.obj}/"]))

    def _error(self, done: proc.Completed, argv: Sequence[str]) -> PinpageError:
        roots = [f"{self.work.src}/"]
        if not 0 <= done.status < _SIGNALS:
            return InfraError(
                f"make was killed (status {done.status})",
                hint="run it again: the build goes on from there; is there enough memory?",
                log=self.log,
                command=argv,
            )
        found = None
        for output in (done.stderr, done.stdout):
            lines = output.decode(errors="replace").splitlines()
            found = found or failure.first(lines, roots)
        if found is None:
            found = Failure(Kind.MAKE, f"make ended with status {done.status}")
        return self._explain(found, argv)

    def _explain(self, found: Failure, argv: Sequence[str]) -> PinpageError:
        detail = "\n".join(found.context)
        if found.kind is Kind.TOOL:
            hint = f"install it: apt install {found.package}"
            return MissingTool(
                f"the kernel's build needs more: {found.message}",
                detail=detail,
                hint=hint,
                log=self.log,
                command=argv,
            )
        if found.kind is Kind.HOST:
            hint = "make room (disk or memory) and run it again: the build goes on from there"
            return InfraError(found.message, hint=hint, log=self.log, command=argv)
        kind = ConfigError if found.kind is Kind.KCONFIG else CompileError
        file = self._shown(found.file)
        place = ":".join(str(part) for part in (file, found.line, found.column) if part)
        accused = Origins.of(self.tree).of_line(found.file, found.line)
        blame = f"; blame: {accused.said}" if accused is not None else ""
        touched = self._touched(found)
        return kind(
            (f"{place}: {found.message}" if place else found.message) + blame,
            detail="\n".join(part for part in (detail, touched) if part),
            hint="this is the first error; the log has them all",
            log=self.log,
            command=argv,
        )

    def _shown(self, file: str) -> str:
        """A module's file by its own path, not its copy's."""
        for name, folder in self.sources.items():
            below = f"{self.work.modules / name}/"
            if file.startswith(below):
                return os.fspath(folder / file.removeprefix(below))
        return file

    def _touched(self, found: Failure) -> str:
        """The patches that touched the file, or the files that hold an undefined symbol."""
        touched = self.tree.touched_by
        if found.file in touched:
            return f"{found.file} is changed by {', '.join(touched[found.file])}"
        if not found.symbol:
            return ""
        word = found.symbol.encode()
        files = [path for path, text in self.tree.changed.items() if text and word in text]
        return "\n".join(
            f"{found.symbol} is named in {path}, changed by {', '.join(touched.get(path, ()))}"
            for path in files
        )
