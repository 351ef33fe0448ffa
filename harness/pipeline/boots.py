# SPDX-License-Identifier: GPL-2.0-only
"""Guests of what was built: what they need, what their profile writes, who looks on."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from harness import resources
from harness.build import image, kernel
from harness.build.origin import Origins
from harness.errors import GuestCommandError, InfraError
from harness.model import (
    Accelerator,
    ArmPlan,
    BuildArtifacts,
    GuestImage,
    Profile,
    Progress,
    RunSpec,
)
from harness.pipeline.stages import Chosen
from harness.scenario.base import Emit
from harness.scenario.recorder import mount
from harness.vm import accel, begin, machine, snapshot

# MODULE.NAME=VALUE is on the command line what this file says (kernel/params.c).
_PARAMETER = re.compile(r"/sys/module/(?P<module>[^/]+)/parameters/(?P<name>[^/]+)")
_CPU = re.compile(r"(?:model name|stepping|microcode|flags|CPU \w+|Features)\s*:")


@dataclass(frozen=True)
class Bootable:
    """What a boot needs beside a folder of its own. content: what a kernel is known by whose key
    another has given."""

    chosen: Chosen
    words: RunSpec
    artifacts: BuildArtifacts
    image: GuestImage
    accelerator: Accelerator
    origins: Origins | None = None
    content: str = ""


@dataclass(frozen=True)
class Scene:
    """An arm that is about to be driven, with its guest in hand; arms: all of the run."""

    arm: ArmPlan
    arms: tuple[ArmPlan, ...]
    ready: Bootable
    guest: machine.Machine
    progress: Progress


# Who looks on while an arm is driven: a context around it, which hears of each event as it comes,
# and of what ends the arm as an exception. What takes time is a stage of the progress.
Look: TypeAlias = Callable[[Scene], AbstractContextManager[Emit]]


@contextmanager
def nobody(scene: Scene) -> Iterator[Emit]:
    """The Look of a run that nobody looks at."""
    yield lambda event: None


def bootable(
    chosen: Chosen,
    artifacts: BuildArtifacts,
    progress: Progress,
    guest_image: GuestImage | None = None,
) -> Bootable:
    """guest_image: one that is given, instead of ours."""
    progress.stage("image")
    if guest_image is None:
        guest_image = image.build(chosen.arch, cache=resources.cache(), progress=progress)
    accelerator = accel.choose(chosen.arch, chosen.spec.accel, cache=resources.cache())
    progress.note(f"accelerator {accelerator.name}: {accelerator.why}")
    return Bootable(chosen, chosen.spec, artifacts, guest_image, accelerator)


@contextmanager
def boot(
    ready: Bootable, folder: Path, progress: Progress, plan: ArmPlan | None = None
) -> Iterator[machine.Machine]:
    """A booted guest, as its profile has it; folder gets its console and logs. plan: the arm that
    it is for.

    InfraError where the kernel that answers is not the one that was built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profile = ready.chosen.profile
    with begin.boot(
        ready.chosen.arch,
        ready.artifacts.image,
        ready.image,
        accel=ready.accelerator,
        profile_slowdown=profile.slowdown,
        folder=folder,
        modules=ready.artifacts.modules,
        memory_mib=ready.words.memory_mib + profile.memory_mib,
        smp=max(ready.words.smp, profile.smp),
        append=(*profile.append, *ready.words.append),
        room=plan.room if plan else (),
        nodes=plan.nodes if plan else 1,
        bare_nodes=plan.bare_nodes if plan else 0,
        snapshots=_snapshots(ready),
        empty_nodes=plan.empty_nodes if plan else 0,
        system_map=ready.artifacts.folder / "System.map",
        progress=progress,
    ) as guest:
        _check_identity(guest.must("cat /proc/version"), ready.artifacts)
        _set(guest, profile, ready.words.append, progress)
        yield guest


def _set(
    guest: machine.Machine, profile: Profile, append: Sequence[str], progress: Progress
) -> None:
    """Write what a profile has written to a guest that is ready, but for a module's parameter
    that the user has given on the kernel command line."""
    if profile.settings:
        mount(guest)
    given = {word.partition("=")[0].replace("-", "_") for word in " ".join(append).split()}
    for setting in profile.settings:
        found = _PARAMETER.fullmatch(setting.file)
        if found and f"{found['module']}.{found['name']}" in given:
            continue
        try:
            guest.write(setting.file, setting.text.encode())
        except GuestCommandError:
            if not setting.optional:
                raise
            progress.note(f"profile {profile.name}: no {setting.text!r} in {setting.file}")


def _snapshots(ready: Bootable) -> snapshot.Store | None:
    """Where guests of this kernel and image are saved; None where each has to boot."""
    if not ready.words.snapshots:
        return None
    host = platform.machine()
    if ready.accelerator.name == "kvm":
        # The processor is the host's own: a state of it is of use on such a one alone.
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        host = "\n".join(sorted({line for line in text.splitlines() if _CPU.match(line)}))
    kernel_of = ready.content or ready.artifacts.key
    words = (kernel_of, ready.image.digest, ready.accelerator.name, host)
    return snapshot.Store(resources.cache() / "snapshots", words)


def is_of(artifacts: BuildArtifacts, said: str) -> bool:
    """Whether a banner is this kernel's."""
    return f"@{kernel.identity(artifacts.key)})" in said


def _check_identity(said: str, artifacts: BuildArtifacts) -> None:
    if not is_of(artifacts, said):
        wanted = kernel.identity(artifacts.key)
        raise InfraError(
            f"the kernel that booted is not the one in {artifacts.folder}: it was not built as "
            f"{wanted}, and says {' '.join(said.split())[:200]!r}",
            hint="remove that folder, and report this",
        )
