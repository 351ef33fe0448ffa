# SPDX-License-Identifier: GPL-2.0-only
"""Real builds, made once and shared through the user's cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import arch, pipeline, resources, scenario, spec
from harness.build import image, source
from harness.errors import SourceUnavailable
from harness.model import BuildArtifacts, GuestImage, PatchedTree, RunSpec, Silent


@dataclass(frozen=True)
class Build:
    tree: PatchedTree
    artifacts: BuildArtifacts


def words(series: str, **extra: Any) -> RunSpec:
    """A RunSpec of the default kernel for this machine's architecture."""
    values: dict[str, Any] = {
        "scenario": "compaction",
        "kernel": "6.12",
        "arch": arch.host().name,
        "series": (series,),
        "profile": "fast",
        "seed": 1,
        "jobs": len(os.sched_getaffinity(0)),
        "params": scenario.params(str(extra.get("scenario", "compaction")), ()),
    }
    return RunSpec(**{**values, **extra})


def build(series: str) -> Build:
    chosen = pipeline.choose(words(series))
    progress = Silent()
    tree = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
    return Build(tree, pipeline.build(chosen, tree, progress))


def _sourced(name: str) -> str:
    """Skips a test without a source of the kernel."""
    try:
        pipeline.fetch(pipeline.choose(words("none", kernel=name)), Silent())
    except SourceUnavailable:
        variable = source.variable_of(spec.load_kernel(name))
        pytest.skip(f"no source of {name}: set {variable}")
    return name


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> str:
    """The kernel that a test is parametrised with; the test is skipped without a source of it."""
    return _sourced(str(request.param))


@pytest.fixture
def old_kernel() -> str:
    """The one that the series was written for; the test is skipped without a source of it."""
    return _sourced("3.11")


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., RunSpec]:
    return words


@pytest.fixture(scope="session")
def linux() -> Path:
    """The tree of the default kernel, unpatched."""
    return pipeline.fetch(pipeline.choose(words("none")), Silent()).path


@pytest.fixture(scope="session")
def fixed() -> Build:
    return build("fixed")


@pytest.fixture(scope="session")
def fast_build(fixed: Build) -> BuildArtifacts:
    return fixed.artifacts


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    return image.build(arch.host(), cache=resources.cache(), progress=Silent())
