# SPDX-License-Identifier: GPL-2.0-only
"""Builds a kernel and the guest modules, or finds them built.

The key of a build is everything that goes into it. A build that is not in the cache is made in
a workspace that earlier builds of the same tree, configuration and toolchain have left, so that
only what a changed series touches is compiled again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import arch as arches
from harness import cache, proc
from harness.build import artifacts, folder, kconfig, origin, toolchain, workspace
from harness.build.make import Make
from harness.build.workspace import Workspace
from harness.errors import BuildError, InputError
from harness.model import (
    Arch,
    BuildArtifacts,
    Kernel,
    KernelConfig,
    PatchedTree,
    Progress,
    Toolchain,
)

_FORMAT = "3"
_CONFIG_INPUTS = ("Kconfig", "scripts/", "/configs/")


def build(
    tree: PatchedTree,
    config: KernelConfig,
    arch: Arch,
    kernel: Kernel,
    toolchain: str,
    modules: Mapping[str, Path],
    *,
    jobs: int,
    cache: Path,
    progress: Progress,
) -> BuildArtifacts:
    """The built kernel and modules; modules: name → source folder.

    CompileError names the compiler's first error, its file and the patch that touched it;
    ConfigError an option that Kconfig dropped; CannotRun one without which the profile is
    nothing; MissingTool what the build lacks on this machine.
    """
    job = _Job(tree, config, arch, kernel, toolchain, modules, jobs, cache, progress)
    found = artifacts.look(job.key, cache, progress)
    if found is not None:
        progress.note(f"built before: {found.folder}")
        return found
    with workspace.hold(cache / "work" / job.workspace, progress) as work:
        found = artifacts.look(job.key, cache, progress)
        return found if found is not None else job.make(work)


def identity(key: str) -> str:
    """What a kernel built by this key gives as its build host, in its banner and /proc/version."""
    return key[:12]


class _Job:
    """One build: its key, and the steps to make it in a workspace."""

    def __init__(
        self,
        tree: PatchedTree,
        config: KernelConfig,
        arch: Arch,
        kernel: Kernel,
        wanted: str,
        modules: Mapping[str, Path],
        jobs: int,
        cache_folder: Path,
        progress: Progress,
    ) -> None:
        self._tree, self._config, self._arch, self._kernel = tree, config, arch, kernel
        self._modules, self._jobs, self._cache = modules, jobs, cache_folder
        self._progress = progress
        self._toolchain = toolchain.find(wanted, arch, arches.host())
        types = kconfig.has_types(config)
        self._variables = toolchain.variables(self._toolchain, kernel, arch, types=types)
        tools = _tools_key(self._toolchain, self._variables)
        sources = [part for name in sorted(modules) for part in (name, content(modules[name]))]
        self.key = cache.key(_FORMAT, tree.digest, config.digest, arch.name, tools, *sources)
        self.workspace = cache.key(
            _FORMAT,
            tree.source.line,
            config.digest,
            arch.name,
            tools,
            str(self._toolchain.ccache),
        )[:12]

    def make(self, work: Workspace) -> BuildArtifacts:
        log = work.logs / f"{self.key}.log"
        log.unlink(missing_ok=True)
        make = Make(
            work=work,
            tree=self._tree,
            arch=self._arch.kernel_arch,
            variables=self._variables,
            jobs=self._jobs,
            log=log,
            progress=self._progress,
            identity=identity(self.key),
            sources=self._modules,
        )
        changed = self._sources(work)
        configured = self._configure(make, changed)
        modular = "CONFIG_MODULES=y" in _lines(work.obj / ".config")
        if self._modules and not modular:
            raise BuildError(
                f"the modules {', '.join(self._modules)} need CONFIG_MODULES=y",
                hint="the configuration's fragments must ask for it",
            )
        targets = [self._arch.image_target, *(["modules"] if modular else [])]
        self._expect(make, targets, configured or any(name.endswith(".h") for name in changed))
        make.build(*targets)
        self._remember_steps(make)
        self._check_config(work)
        built = {name: self._module(make, name) for name in sorted(self._modules)}
        return self._publish(make, built)

    # -----------------------------------------------------------------------------------------

    def _sources(self, work: Workspace) -> set[str]:
        source = self._tree.source
        in_cache = source.path.is_relative_to(self._cache)

        def check() -> None:
            if not in_cache:
                _unchanged(self._tree, self._cache)

        return work.synchronise(self._tree, in_cache, check)

    def _configure(self, make: Make, changed: set[str]) -> bool:
        """Make .config from nothing, unless nothing that goes into it has changed; whether the
        configuration is another one now."""
        work, dot_config = make.work, make.work.obj / ".config"
        stamp = work.state().get("configured")
        same = stamp is not None and stamp == self._stamp(dot_config)
        if same and not any(map(_goes_into_config, changed)):
            return False
        work.remember(configured=None)
        before = (dot_config.read_bytes(), dot_config.stat()) if dot_config.is_file() else None
        dot_config.unlink(missing_ok=True)
        make.run(self._kernel.config)
        with dot_config.open("a", encoding="utf-8") as file:
            file.write("\n" + kconfig.merged_text(self._config))
        make.run("olddefconfig")
        self._check_config(work)
        same = before is not None and before[0] == dot_config.read_bytes()
        if same and before is not None:
            os.utime(dot_config, ns=(before[1].st_atime_ns, before[1].st_mtime_ns))
        work.remember(configured=self._stamp(dot_config))
        return not same

    def _stamp(self, dot_config: Path) -> str | None:
        if not dot_config.is_file():
            return None
        return cache.key(self._config.digest, dot_config.read_bytes())

    def _check_config(self, work: Workspace) -> None:
        text = (work.obj / ".config").read_text(encoding="utf-8")
        dropped = kconfig.verify(self._config.requested, text, work.src)
        if dropped:
            raise kconfig.dropped_error(dropped, self._config)

    def _module(self, make: Make, name: str) -> Path:
        """Build one module in a copy of its folder; headers beside the folder come along.

        A folder whose Kbuild makes a program gives that, under the folder's name.
        """
        source, copy = self._modules[name], make.work.modules / name
        for old in (copy, *make.work.modules.glob("*.h")):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        copy.mkdir(parents=True)
        for path in folder.listing(source).files:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, copy / path)
        for header in source.parent.glob("*.h"):
            shutil.copyfile(header, make.work.modules / header.name)
        make.build(f"M={copy}", "modules")
        module = copy / f"{name}.ko"
        return module if module.is_file() else copy / name

    def _publish(self, make: Make, modules: Mapping[str, Path]) -> BuildArtifacts:
        obj, out = make.work.obj, make.work.top / "out"
        vmlinux, modules, symbols = self._apart(make.work, out, modules)
        cache.write(out / origin.FILE, origin.Origins.of(self._tree).text())
        release = (obj / "include" / "config" / "kernel.release").read_text().strip()
        files = {
            "image": obj / self._arch.image,
            "vmlinux": vmlinux,
            "config": obj / ".config",
            "System.map": obj / "System.map",
            "build.log": make.log,
            **{f"symbols/{path.name}": path for path in symbols},
            origin.FILE: out / origin.FILE,
        }
        facts = {
            "release": release,
            "arch": self._arch.name,
            "kernel": self._kernel.name,
            "source": {"digest": self._tree.source.digest, "origin": self._tree.source.origin},
            "series": {"name": self._tree.series.name, "digest": self._tree.series.digest},
            "command": make.argv(self._arch.image_target, "modules"),
            "seconds": round(make.seconds, 3),
            "cpu_seconds": round(make.cpu_seconds, 3),
        }
        made = artifacts.publish(
            self.key, files, modules, facts, self._toolchain, self._cache, self._progress
        )
        shutil.rmtree(out)
        return made

    def _apart(
        self, work: Workspace, out: Path, modules: Mapping[str, Path]
    ) -> tuple[Path, dict[str, Path], list[Path]]:
        """vmlinux with its line tables compressed; the modules as a guest gets them, without; and
        the modules with them. Nothing that runs differs from what make made."""
        objcopy = toolchain.objcopy(self._toolchain)
        shutil.rmtree(out, ignore_errors=True)
        (out / "modules").mkdir(parents=True)
        vmlinux = out / "vmlinux"
        built = work.obj / "vmlinux"
        for path in (built, *modules.values()):
            if not path.is_file():
                raise BuildError(f"make ended well but did not make {path}")
        proc.run([objcopy, "--compress-debug-sections=zlib", str(built), str(vmlinux)])
        stripped = {name: out / "modules" / path.name for name, path in modules.items()}
        for name, path in modules.items():
            proc.run([objcopy, "--strip-debug", str(path), str(stripped[name])])
        return vmlinux, stripped, list(modules.values())

    # -----------------------------------------------------------------------------------------

    def _steps_file(self) -> Path:
        name = cache.key(self._kernel.name, self._config.digest, self._arch.name)
        return self._cache / "steps" / f"{name}.json"

    def _expect(self, make: Make, targets: Sequence[str], much: bool) -> None:
        """How many steps are ahead: what a build from nothing took before, or a dry run.

        A build that goes on from another and has not much to do starts at once instead.
        """
        if make.work.state().get("built"):
            if much:
                make.expect(*targets)
            return
        steps = (cache.read_json(self._steps_file()) or {}).get("steps")
        if isinstance(steps, int):
            make.expected = steps
        else:
            make.expect(*targets)

    def _remember_steps(self, make: Make) -> None:
        if not make.work.state().get("built"):
            cache.write_json(self._steps_file(), {"steps": make.steps})
            make.work.remember(built=True)


def _tools_key(found: Toolchain, variables: Mapping[str, str]) -> str:
    """The toolchain and make's variables; whether ccache stands before it changes nothing."""
    words = [f"{name}={toolchain.compiler(value)}" for name, value in variables.items()]
    return cache.key(found.name, found.version, *sorted(words))


def content(module: Path) -> str:
    """A digest of a module's sources, the headers beside its folder included."""
    if not module.is_dir():
        raise InputError(f"there is no module source folder {module}")
    parts: list[str | bytes] = []
    for path in folder.listing(module).files:
        parts += [path, (module / path).read_bytes()]
    for header in sorted(module.parent.glob("*.h")):
        parts += [f"../{header.name}", header.read_bytes()]
    return cache.key(*parts)


def _goes_into_config(path: str) -> bool:
    return path == "Makefile" or any(part in f"/{path}" for part in _CONFIG_INPUTS)


def _lines(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").splitlines())


def _unchanged(tree: PatchedTree, cache_folder: Path) -> None:
    """InputError if the user's folder is no longer what it was when its digest was taken."""
    path = tree.source.path
    if folder.digest(path, folder.listing(path).files, cache_folder) != tree.source.digest:
        raise InputError(f"{os.fspath(path)} was changed while it was read", hint="run it again")
