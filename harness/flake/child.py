# SPDX-License-Identifier: GPL-2.0-only
"""A run as a program of its own: ``pinpage run``, its words those of the run's ``reproduce``."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import cache, proc
from harness.errors import InfraError, InputError
from harness.flake import Job, Ran
from harness.model import EXIT_USAGE, Outcome
from harness.pipeline import state
from harness.report.reproduce import words

_ENDING = 20.0  # seconds that a run gets to end its guest when it is told to stop
_TAIL = 20
_STOPPED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def record_in(folder: Path) -> Mapping[str, Any] | None:
    """The run.json of the one run that came to its end in a folder; None where there is none."""
    own = [path for path in folder.glob("*/run.json") if not path.parent.is_symlink()]
    record = cache.read_json(own[0]) if len(own) == 1 else None  # 'latest' is another name
    return None if record is None or record["interrupted"] else record


class Child:
    """A run that goes on."""

    def __init__(self, job: Job, folder: Path, code: str = "") -> None:
        """code: folder of another pinpage, which runs it."""
        self._job, self._folder = job, folder
        folder.mkdir(parents=True)
        self._log = folder / "output.log"
        # -P: not that of the folder where we are, if it has one.
        argv = [sys.executable, "-P", "-m", "harness.cli", *words(job.spec)]
        argv += ["--keep", str(folder), "--jobs", str(job.spec.jobs)]
        env = {state.INNER: "1"} | ({"PYTHONPATH": code} if code else {})
        self._process: subprocess.Popen[bytes] = proc.spawn(argv, log=self._log, env=env)

    def poll(self) -> Ran | None:
        """InputError where its words were refused, InfraError where it ended otherwise without
        having come to a verdict."""
        status = self._process.poll()
        if status is None:
            return None
        record = record_in(self._folder)
        if record is None:
            said = self._log.read_text(errors="replace").splitlines()[-_TAIL:]
            if status == EXIT_USAGE:
                raise InputError(
                    f"the run {self._job.name} was refused",
                    detail="\n".join(said),
                    hint="what the other runs came to is kept",
                )
            how = "was stopped" if status in _STOPPED else f"ended with status {status}"
            raise InfraError(
                f"the run {self._job.name} {how}: it left no record",
                detail="\n".join(said),
                hint="the measurement goes on from here when it is begun again",
            )
        builds = [key for name, key in record["digests"].items() if name.startswith("build")]
        return Ran(
            job=self._job.name,
            verdict=Outcome(record["verdict"]),
            reason=record["reason"],
            seconds=record["seconds"],
            guests=record["guests"],
            builds=tuple(builds),
        )

    def last(self) -> str:
        """The last line of what it has said so far."""
        said = self._log.read_text(errors="replace").split("\r")[-1].splitlines()
        return next((line.strip() for line in reversed(said) if line.strip()), "nothing yet")

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING)
        proc.kill_group(self._process)
