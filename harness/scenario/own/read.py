# SPDX-License-Identifier: GPL-2.0-only
"""A YAML → a Plan. What is wrong is named with its line and column, and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from errno import errorcode
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness import spec
from harness.errors import InputError
from harness.scenario.own.plan import TRIGGERS, Module, Pin, Plan, Step, Wish
from harness.spec import Marked, Where

SCHEMA_FILE = Path(__file__).with_name("scenario.schema.json")
_EXAMPLE = "README.md, 'A scenario of one's own', has an example"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")  # of a module, as the kernel has them
_PLACES = ("pages", "area", "plugged", "frames")
_NEEDS = {"first": "frames", "online": "plugged"}  # fields of pin → the place that they belong to
# Options of a step → the triggers that they belong to.
_OPTIONS = {
    "times": ("contig", "move-user-pages"),
    "align": ("contig",),
    "to": ("move-user-pages",),
    "seconds": ("offline", "command"),
}
_SECONDS = {"offline": 8, "command": 60}
_SILENT = ("compact", "compact-node")  # of which nothing else can come than that they are done
_PLAIN = tuple(each for each in TRIGGERS if each not in (*_SILENT, "huge-pages"))  # succeed or fail
_COUNTED = re.compile(r"at least (\d+)")
_TOLD = 4  # further mistakes that are told


def plan(path: Path, taken: tuple[str, ...] = ()) -> Plan:
    """The scenario in a YAML. taken: names that it may not have, nor its modules.

    InputError where it cannot be read, is not as the schema has it, or asks for nothing.
    """
    found = spec.marked(path)
    if isinstance(found.data, dict) and isinstance(found.data.get("drive"), list):
        # A step of one word is the step with nothing behind it.
        steps = [{step: None} if isinstance(step, str) else step for step in found.data["drive"]]
        found = replace(found, data={**found.data, "drive": steps})
    _check(found)
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.stem).strip("_") or "own"
    if name in taken:
        raise InputError(
            f"{path}: {name} is the name of a scenario that there is", hint="give it another name"
        )
    return _plan(found, name, path)


def _plan(found: Marked, name: str, path: Path) -> Plan:
    data = found.data
    expect, guest = data.get("expect", {}), data.get("guest", {})
    if "migrated" in expect and "stayed" in expect:
        raise found.error(("expect", "stayed"), "either migrated or stayed", key=True)
    by_default = _wish(found, ("expect", "attempts"), expect.get("attempts", ""))
    steps = tuple(_step(found, at, step, by_default) for at, step in enumerate(data["drive"]))
    migrated = expect.get("migrated", "none" if "stayed" in expect else "")
    append = tuple(guest.get("append", "").split())
    made = Plan(
        name=name,
        file=path,
        text=found.text,
        summary=data.get("summary", f"as {path.name} has it"),
        pin=_pin(found),
        steps=steps,
        moved={"all": 1.0}.get(migrated) or _share(migrated),
        stays=migrated == "none",
        huge="huge-pages" in expect,
        control=data.get("control") != "none",
        smp=guest.get("smp", 0),
        nodes=guest.get("nodes", 1),
        append=append,
        modules=tuple(_modules(found)),
    )
    _goes_together(found, made, by_default)
    return replace(made, steps=tuple(map(_succeeds, steps)))


def _succeeds(step: Step) -> Step:
    """A command has to succeed where nothing else is said: a slip of the pen is no drive."""
    if step.trigger != "command" or step.wish is not None or step.control is not None:
        return step
    return replace(step, wish=Wish("succeeds"), control=Wish("succeeds"))


def _share(migrated: str) -> float:
    number = re.search(r"\d+", migrated)
    return int(number[0]) / 100 if number else 0.0


def _goes_together(found: Marked, made: Plan, by_default: Wish | None) -> None:
    """Nothing passes without evidence: something has to be expected of what is done."""
    if by_default is not None and not any(step.trigger in _PLAIN for step in made.steps):
        problem = "no step of this drive can succeed or fail"
        raise found.error(("expect", "attempts"), problem, f"these can: {', '.join(_PLAIN)}")
    told = made.moved or made.stays or made.huge
    if not told and not any(made.wishes("treated")) and not any(made.wishes("control")):
        hint = "expect: migrated, stayed, huge-pages or attempts; or expect at a step"
        raise found.error((), "nothing is expected of it, so nothing could be a verdict", hint)
    area = made.pin.area or any(word.startswith("cma=") for word in made.append)
    for at, step in enumerate(made.steps):
        where: Where = ("drive", at, step.trigger)
        if step.trigger == "contig" and not area:
            hint = "pin: {area: MIB}, or guest: {append: cma=64M}"
            raise found.error(where, "there is no contiguous area to allocate from", hint)
        if step.words == ("plugged",) and not made.pin.plugged:
            raise found.error(where, "no memory is plugged", "pin: {plugged: MIB}")
        if step.trigger == "move-user-pages" and made.nodes < 2:
            raise found.error(where, "it needs a second node", "guest: {nodes: 2}")
        if step.trigger == "move-user-pages" and step.to >= made.nodes:
            problem = f"there is no node {step.to}, of {made.nodes}"
            raise found.error(("drive", at, "to"), problem)


def _pin(found: Marked) -> Pin:
    given = found.data["pin"]
    places = [name for name in _PLACES if name in given]
    if len(places) != 1:
        where: Where = ("pin", places[1]) if places else ("pin",)
        problem = f"one of {', '.join(_PLACES)}, {len(places)} are given"
        raise found.error(where, problem, key=bool(places))
    for name, place in _NEEDS.items():
        if name in given and place not in given:
            raise found.error(("pin", name), f"it belongs to {place}", key=True)
    if "frames" in given and "first" not in given:
        raise found.error(("pin", "frames"), "the field first is missing", "the first pfn of them")
    if "pages" in given and given.get("least", 0) > given["pages"]:
        raise found.error(("pin", "least"), "it is more than pages")
    return Pin(**given)


def _step(found: Marked, at: int, given: Mapping[str, Any], by_default: Wish | None) -> Step:
    here: Where = ("drive", at)
    named = [name for name in TRIGGERS if name in given]
    if len(named) != 1:
        hint = f"one of {', '.join(TRIGGERS)}"
        raise found.error(here, f"a step does one thing, this one {len(named)}", hint)
    (trigger,) = named
    for name, owners in _OPTIONS.items():
        if name in given and trigger not in owners:
            problem = f"it belongs to {' and '.join(owners)}, not to {trigger}"
            raise found.error((*here, name), problem, key=True)
    if trigger == "move-user-pages" and "to" not in given:
        raise found.error(here, "the field to is missing", "the node that the pages are moved to")
    value = given[trigger]
    words = (
        () if not isinstance(value, str | list) else (value,) if isinstance(value, str) else value
    )
    wish, control = (_own_wish(found, here, trigger, name, given) for name in ("expect", "control"))
    if wish is None and trigger in _PLAIN:
        wish = by_default
    return Step(
        number=at + 1,
        trigger=trigger,
        amount=value if isinstance(value, int) else 1,
        words=tuple(words),
        times=given.get("times", 1),
        align=given.get("align"),
        to=given.get("to", 0),
        seconds=given.get("seconds", _SECONDS.get(trigger, 60)),
        wish=wish,
        control=control,
    )


def _own_wish(
    found: Marked, here: Where, trigger: str, name: str, given: Mapping[str, Any]
) -> Wish | None:
    if name not in given:
        return None
    where = (*here, name)
    if trigger in _SILENT:
        problem = f"{trigger} can neither succeed nor fail"
        raise found.error(where, problem, f"these can: {', '.join(_PLAIN)}", key=True)
    if given[name].startswith("at least") is not (trigger == "huge-pages"):
        only = "at least N, and nothing else, is for huge-pages"
        raise found.error(where, f"{given[name]!r} is not for {trigger}", only)
    return _wish(found, where, given[name])


def _wish(found: Marked, where: Where, word: str) -> Wish | None:
    if not word:
        return None
    counted = _COUNTED.fullmatch(word)
    if counted is not None:
        return Wish("at least", int(counted[1]))
    word = {"succeed": "succeeds", "fail": "fails"}.get(word, word)
    if word.startswith("E") and word not in errorcode.values():
        near = get_close_matches(word, errorcode.values(), 3)
        raise found.error(
            where, f"{word} is no errno", f"nearest: {', '.join(near)}" if near else ""
        )
    return Wish(word)


def _modules(found: Marked) -> list[Module]:
    made: dict[str, Module] = {}
    for at, item in enumerate(found.data.get("modules", ())):
        where: Where = ("modules", at) if isinstance(item, str) else ("modules", at, "path")
        path, options = (item, "") if isinstance(item, str) else (item["path"], item.get("options"))
        folder = (found.path.parent / Path(path).expanduser()).resolve()
        name = folder.name
        if not _NAME.fullmatch(name):
            raise found.error(where, f"{name!r} is no name of a module", "letters, digits and _")
        for needed in ("Kbuild", f"{name}.c"):
            if not (folder / needed).is_file():
                hint = f"a folder {name}/ with a Kbuild (obj-m := {name}.o) and {name}.c"
                raise found.error(where, f"there is no {folder / needed}", hint)
        if name in made:
            raise found.error(where, f"there are two modules {name}")
        span = found.values[where]
        made[name] = Module(name, folder, options or "", (span.first, span.last))
    return list(made.values())


# ---------------------------------------------------------------------------------------------
# The schema
# ---------------------------------------------------------------------------------------------


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))


def _check(found: Marked) -> None:
    """InputError for what comes first in the file; the others stand below it."""
    wrong = [_problem(found, error) for error in _validator().iter_errors(found.data)]
    if not wrong:
        return
    wrong.sort(key=lambda each: each[0])
    _, first = wrong[0]
    more = [f"{each.message} ({each.hint})" for _, each in wrong[1 : _TOLD + 1]]
    raise InputError(first.message, hint=first.hint, detail="\n".join(more))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def _problem(
    found: Marked, error: jsonschema.ValidationError
) -> tuple[tuple[int, int], InputError]:
    """Where it is wrong, and what is allowed there."""
    where: Where = tuple(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    allowed, key = str(schema.get("description", "")), False
    if error.validator == "additionalProperties":
        fields = list(schema["properties"])
        name = next(each for each in error.instance if each not in fields)  # type: ignore[union-attr]
        near = get_close_matches(name, fields, 1)
        problem = "there is no such field" + (f"; did you mean {near[0]}?" if near else "")
        where, key, allowed = (*where, name), True, ", ".join(fields)
    elif error.validator == "required":
        missing = [each for each in schema["required"] if each not in error.instance]  # type: ignore[operator]
        problem, allowed = f"the field {missing[0]} is missing", allowed or _EXAMPLE
    elif isinstance(error.instance, dict | list):
        problem = "this is not allowed here" if error.instance else "it is empty"
    elif isinstance(error.instance, str):
        problem = f"{error.instance[:60]!r} is not allowed"
        if _is_number(error.instance):
            problem += ", as the quotes make a text of it"
    else:
        problem = f"{json.dumps(error.instance, default=str)[:60]} is not allowed"
    made = found.error(where, problem, f"allowed: {allowed}" if allowed else _EXAMPLE, key=key)
    at = found.at(where, key=key)
    return (at.line, at.column), made
