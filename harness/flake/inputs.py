# SPDX-License-Identifier: GPL-2.0-only
"""What the words of a run mean now: results are of that, and not of the words."""

from __future__ import annotations

import os
from pathlib import Path

from harness import cache, resources, scenario, spec
from harness.build import git, kernel, series, source
from harness.errors import InputError
from harness.model import RunSpec, SourceTree


def meant(words: RunSpec) -> str:
    """A digest of the patches that a run's words name, and of a scenario of the user's own with
    its modules; not of the tree. Of words that name nothing it is what is said of them."""
    try:
        tree = SourceTree(Path(), "", "", "", _repository(words))
        on = spec.load_kernel(words.kernel)
        patches = series.load(words.series, on, tree, words.without, upto=words.upto).digest
    except InputError as error:
        patches = str(error)
    if words.file is None:
        return cache.key(patches)
    modules = map(kernel.content, scenario.modules_of(scenario.of(words)))
    return cache.key(patches, words.file.read_bytes(), *modules)


def _repository(words: RunSpec) -> Path | None:
    """The repository of the tree, of which a range of commits without a name is."""
    tree = words.tree or os.environ.get(source.variable_of(spec.load_kernel(words.kernel)), "")
    folders = (resources.path(word) for word in (tree, tree.rpartition("@")[0]) if word)
    return next((git.top(folder) for folder in folders if folder.is_dir()), None)
