# SPDX-License-Identifier: GPL-2.0-only
"""File and line of what a report names: the toy kernel, built and asked for real."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import toykernel as toy
from program import Program
from test_kernel_build import Bench

from harness.build import symbols
from harness.build.origin import Origins
from harness.build.symbols import answered, explain, functions
from harness.errors import MissingTool
from harness.model import BuildArtifacts, Frame, Place, Splat

TWIN = """
static __attribute__((noinline, noclone)) int twin(int x)
{
	asm volatile("" : : : "memory");
	return x %s;
}
"""
HEADER = """
static inline __attribute__((always_inline)) int inner(int x)
{
	asm volatile("nop" : : : "memory");
	return x + 1;
}
"""
OUTER = """
int outer(int x)
{
	return twin(inner(x));
}
"""
MIGRATE, COMPACTION, MM = "mm/migrate.c", "mm/compaction.c", "include/linux/mm.h"

# Two sections, each with a function at its begin.
MODULE = """\
int init_module(void) { return migrate_page(1, VALUE); }
__attribute__((section(".init.text"))) int begin(void) { return migrate_page(2, VALUE); }"""


def patches(twin: str = "+ 2", other: str = "* 1000003 / 17 + x % 11") -> list[str]:
    """mm/migrate.c with outer(), which inlines inner() of a header and calls its own twin();
    mm/compaction.c with another twin()."""
    migrate = toy.read(MIGRATE)
    compaction = toy.read(COMPACTION)
    return [
        toy.change(MM, "int fork_one", HEADER.lstrip() + "int outer(int x);\nint fork_one"),
        toy.diff(MIGRATE, migrate, migrate + TWIN % twin + OUTER),
        toy.diff(
            COMPACTION,
            compaction,
            compaction + TWIN % other + "int again(int x)\n{\n\treturn twin(x);\n}\n",
        ),
    ]


class Built:
    """A toy kernel, and its reports."""

    def __init__(self, bench: Bench, *texts: str) -> None:
        self.build: BuildArtifacts = bench.build(*(texts or patches()))
        self.origins = Origins.read(self.build)
        said = subprocess.run(
            ["readelf", "-sW", self.build.vmlinux], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in said.splitlines() if " FUNC " in line]
        self.rows = [(row[7], int(row[1], 16), int(row[2])) for row in rows]

    def at(self, name: str, which: int = 0) -> tuple[int, int]:
        """Address and size of a function, as the kernel counts it: up to the next."""
        start = sorted(at for found, at, _ in self.rows if found == name)[which]
        later = [at for _, at, _ in self.rows if at > start]
        own = next(size for _, at, size in self.rows if at == start)
        return start, min(later) - start if later else own

    def splat(self, *lines: str) -> Splat:
        report = "\n".join(lines)
        raw = Splat("BUG", "kernel BUG", "f", 1, len(lines), report)
        (done,) = explain([raw], self.build, self.origins)
        return done

    def places(self, line: str) -> list[tuple[str, int, str]]:
        (frame,) = self.splat(line).frames
        return [(each.file, each.line, each.function) for each in frame.places]


def line_of(text: str, what: str) -> int:
    (found,) = [n for n, line in enumerate(text.splitlines(), 1) if what in line]
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    bench = Bench(tmp_path_factory.mktemp("symbols"))
    bench.module_text(MODULE)
    return Built(bench)


def whole(path: str) -> str:
    """A file of the toy as the patches leave it."""
    text = toy.read(path)
    if path == MIGRATE:
        return text + TWIN % "+ 2" + OUTER
    return text.replace("int fork_one", HEADER.lstrip() + "int outer(int x);\nint fork_one", 1)


def test_a_function_begins_at_its_line(built: Built) -> None:
    _, size = built.at("migrate_page")
    line = line_of(whole(MIGRATE), "int migrate_page")
    ((file, found, function),) = built.places(f"RIP: 0010:migrate_page+0x0/{size:#x}")
    assert (file, function) == (MIGRATE, "migrate_page")
    assert line <= found <= line + 2  # from its declaration to its first statement


def test_an_inlined_function_comes_before_its_caller(built: Built) -> None:
    _, size = built.at("outer")
    chains = [built.places(f"RIP: 0010:outer+{at:#x}/{size:#x}") for at in range(size)]
    inlined = [chain for chain in chains if len(chain) == 2]
    assert inlined
    nop = line_of(whole(MM), '"nop"')
    call = (MIGRATE, line_of(whole(MIGRATE), "twin(inner"), "outer")
    assert [(MM, nop, "inner"), call] in inlined
    assert all(chain[1] == call for chain in inlined)


def test_a_return_address_is_of_the_call_before_it(built: Built) -> None:
    _, size = built.at("outer")
    for at in range(1, size):
        exact = built.places(f"RIP: 0010:outer+{at - 1:#x}/{size:#x}")
        assert built.places(f" outer+{at:#x}/{size:#x}") == exact


def test_functions_of_one_name_are_told_apart_by_size(built: Built) -> None:
    sizes = [built.at("twin", which)[1] for which in (0, 1)]
    assert sizes[0] != sizes[1]
    files = {built.places(f" twin+0x1/{size:#x}")[0][0] for size in sizes}
    assert files == {MIGRATE, COMPACTION}


def test_of_two_that_are_equal_neither_is_named_without_an_address(tmp_path: Path) -> None:
    own = Built(Bench(tmp_path), *patches("+ 2", "+ 2"))
    places = [own.at("twin", which) for which in (0, 1)]
    assert places[0][1] == places[1][1]
    size = places[0][1]
    assert own.places(f" twin+0x1/{size:#x}") == []
    files = {own.places(f" [<{at + 1:016x}>] twin+0x1/{size:#x}")[0][0] for at, _ in places}
    assert files == {MIGRATE, COMPACTION}
    assert own.places(f" [<{places[0][0] + 2:016x}>] twin+0x1/{size:#x}") == []


@pytest.mark.parametrize(
    "line",
    [
        "RIP: 0010:migrate_page+0x1/{more:#x}",  # of another build
        "RIP: 0010:migrate_page+0x1/{less:#x}",
        "RIP: 0010:migrate_page+{beyond:#x}/{size:#x}",
        "RIP: 0010:no_such+0x1/{size:#x}",
        "RIP: 0010:migrate_page+0x1/{size:#x} [hello]",  # a module that has no such function
        "RIP: 0010:migrate_page+0x1/{size:#x} [no_such]",
        "RIP: 0010:migrate_page+0x1/{size:#x} [vmlinux]",
    ],
)
def test_no_line_is_better_than_a_wrong_one(built: Built, line: str) -> None:
    _, size = built.at("migrate_page")
    own = next(s for name, _, s in built.rows if name == "migrate_page")
    asked = line.format(size=size, more=size + 1, less=own - 1, beyond=size + 1)
    assert built.places(asked) == []
    assert built.places(f"RIP: 0010:migrate_page+0x1/{size:#x}") != []


def test_a_modules_function_has_a_line_of_its_sources(built: Built) -> None:
    table = functions(readelf(built.build.folder / "symbols" / "hello.ko"), apart=True)
    for name, line in (("init_module", 3), ("begin", 4)):
        (own,) = table[name]
        assert own.start == 0
        found = built.places(f" {name}+0x1/{own.size:#x} [hello]")
        assert found == [("guest-modules/hello/hello.c", line, name)]
    # What the guest gets has no lines, and is all the rest.
    stripped = readelf(built.build.modules["hello"])
    assert ".debug_line" not in stripped and "init_module" in stripped


def test_nothing_of_the_build_folder_is_in_a_path(built: Built) -> None:
    said = subprocess.run(
        ["readelf", "--debug-dump=info,line", built.build.vmlinux],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "/pinpage/src" in said and str(built.build.folder.parent.parent) not in said


def test_the_patch_that_brought_the_line_is_named(built: Built) -> None:
    _, size = built.at("outer")
    call = line_of(whole(MIGRATE), "twin(inner")
    found = built.splat(
        *(f"RIP: 0010:start_kernel+0x0/{built.at('start_kernel')[1]:#x}", "Call Trace:"),
        f" outer+{size - 1:#x}/{size:#x}",
    )
    assert found.culprit is not None and found.culprit.brought
    assert (found.culprit.file, found.culprit.patch) == (MIGRATE, "0002.patch")
    assert call - 2 <= found.culprit.line <= call + 1


def test_the_line_that_a_trap_names_itself_is_the_better_one(built: Built) -> None:
    _, size = built.at("outer")
    counter = f"RIP: 0010:outer+0x1/{size:#x}"
    inner, outer = built.places(counter)
    (_, frame) = built.splat(
        "kernel BUG at mm/migrate.c:14!", counter, f" outer+0x2/{size:#x}"
    ).frames
    assert [(each.file, each.line) for each in frame.places][1] == outer[:2]
    (frame, _) = built.splat(
        "kernel BUG at mm/migrate.c:14!", counter, f" outer+0x2/{size:#x}"
    ).frames
    found = [(each.file, each.line, each.function) for each in frame.places]
    assert found == [("mm/migrate.c", 14, inner[2]), outer]
    (frame,) = built.splat(f"kernel BUG at {outer[0]}:{outer[1]}!", counter).frames
    assert [(each.file, each.line, each.function) for each in frame.places] == [inner, outer]


def test_without_its_tools_there_is_an_error_that_says_so(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    cross = replace(built.build.toolchain, make={"CROSS_COMPILE": "no-such-"})
    monkeypatch.setattr(built, "build", replace(built.build, toolchain=cross))
    with pytest.raises(MissingTool, match="no-such-readelf"):
        built.splat(" outer+0x1/0x2")


def readelf(path: Path) -> str:
    words = ["readelf", "-S", "-s", "-W", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


# --- what the tools print ------------------------------------------------------------------------

READELF = """\
Section Headers:
  [Nr] Name              Type            Address          Off    Size   ES Flg Lk Inf Al
  [ 0]                   NULL            0000000000000000 000000 000000 00      0   0  0
  [ 1] .text             PROGBITS        0000000000000000 000040 000100 00  AX  0   0 16
  [ 2] .data             PROGBITS        0000000000000000 000140 000010 00  WA  0   0 16
  [12] .text.unlikely    PROGBITS        0000000000000000 000150 000020 00  AX  0   0  1

Symbol table '.symtab' contains 8 entries:
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     0: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT  UND
     1: 0000000000000000     0 SECTION LOCAL  DEFAULT    1 .text
     2: 0000000000000000    20 FUNC    LOCAL  DEFAULT    1 first
     3: 0000000000000014     0 NOTYPE  LOCAL  DEFAULT    1 $x
     4: 0000000000000020   0x2 FUNC    GLOBAL DEFAULT    1 second
     5: 0000000000000000    16 OBJECT  GLOBAL DEFAULT    2 data
     6: 0000000000000000     8 FUNC    LOCAL  DEFAULT   12 first.cold
     7: 0000000000000040    16 FUNC    GLOBAL DEFAULT [VARIANT_PCS]     1 third
"""


def test_symbol_tables() -> None:
    found = functions(READELF, apart=True)
    assert {name: [(f.section, f.start, f.size) for f in own] for name, own in found.items()} == {
        "first": [(".text", 0, 20)],
        "second": [(".text", 0x20, 2)],
        "first.cold": [(".text.unlikely", 0, 8)],
        "third": [(".text", 0x40, 16)],
    }
    assert found["first"][0].room == 0x20  # mapping symbols do not count
    assert found["second"][0].room == 0x20
    assert found["third"][0].room > 16  # the last: how far it goes is the loader's business


ADDR2LINE = """\
0x0000000000000012
PagePin
/pinpage/src/.obj/../include/linux/page-flags.h:511
isolate
/pinpage/src/.obj/../mm/compaction.c:1089 (discriminator 3)
0x0000000000000013
??
??:0
0x0000000000000014
main
/etc/passwd:1
0x0000000000000015
generated
/pinpage/src/.obj/include/generated/asm.h:3
0x0000000000000016
inner
??:?
outer
/pinpage/src/mm/migrate.c:7
0x0000000000000017
out
/pinpage/src/../../etc/passwd:1
"""


def test_lines_as_addr2line_gives_them() -> None:
    assert answered(ADDR2LINE) == [
        [
            Place("include/linux/page-flags.h", 511, "PagePin"),
            Place("mm/compaction.c", 1089, "isolate"),
        ],
        [],
        [],
        [Place("include/generated/asm.h", 3, "generated")],
        [],
        [],
    ]


def test_a_cross_build_is_read_by_its_own_tools(
    built: Built, programs: Callable[..., None]
) -> None:
    programs("aarch64-linux-gnu-readelf")
    cross = replace(built.build.toolchain, make={"CROSS_COMPILE": "aarch64-linux-gnu-"})
    found = symbols.tool("readelf", replace(built.build, toolchain=cross))
    assert found.endswith("/aarch64-linux-gnu-readelf")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def make(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return make


def test_a_frame_is_no_word_of_a_command() -> None:
    """What a log can bring in is a name to look up and numbers."""
    found = Frame(1, "--help", 1, 2, module="../../etc/passwd")
    assert symbols._Table({}).find(found) is None


# --- a log by hand -------------------------------------------------------------------------------


Parse = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def parse(within: Program) -> Parse:
    return lambda log, *words: within("parse", "-", *words, stdin=log)


def console(built: Built, host: str) -> str:
    _, size = built.at("outer")
    return (
        f"Linux version 6.12.0-fake (pinpage@{host}) (gcc) #1\n"
        "[    1.000000] kernel BUG at mm/migrate.c:19!\n"
        "[    1.000000] Oops: invalid opcode: 0000 [#1] SMP\n"
        f"[    1.000000] RIP: 0010:outer+0x1/{size:#x}\n"
        "[    1.000000] ---[ end trace 0000000000000000 ]---\n"
    )


def test_a_log_by_hand(parse: Parse, built: Built) -> None:
    log = console(built, built.build.key[:12])
    done = parse(log, "--build", str(built.build.folder))
    assert done.returncode == 3, done.stderr
    title, blame, inner, outer = done.stdout.splitlines()
    assert title == "2: kernel BUG at mm/migrate.c:19! in outer"
    assert blame.startswith("  blame: 0001.patch ") or blame.startswith("  blame: 0002.patch ")
    assert "include/linux/mm.h:" in inner and "by 0001" in inner
    assert "mm/migrate.c:" in outer and "by 0002" in outer
    (found,) = json.loads(parse(log, "--json", "--build", str(built.build.folder)).stdout)["splats"]
    assert found["blame"]["brought"] is True and found["report"]
    (plain,) = json.loads(parse(log, "--json").stdout)["splats"]
    assert "frames" not in plain


@pytest.mark.parametrize("word", ["/no/such/folder", "0123456789abcdef", "../../etc", "/"])
def test_what_names_no_build_is_refused(parse: Parse, word: str) -> None:
    done = parse("hello\n", "--build", word)
    assert done.returncode == 2 and "build" in done.stderr and not done.stdout


def test_a_log_of_another_kernel_is_refused(parse: Parse, built: Built) -> None:
    log = console(built, built.build.key[:12]) + console(built, "0123456789ab")
    done = parse(log, "--build", str(built.build.folder))
    assert done.returncode == 2 and built.build.key[:12] in done.stderr


def test_a_log_of_which_nothing_fits_is_told(parse: Parse, built: Built) -> None:
    log = console(built, "").split("\n", 1)[1].replace("outer+", "elsewhere+")
    done = parse(log, "--build", str(built.build.folder))
    assert done.returncode == 3 and done.stdout.splitlines() == [
        "1: kernel BUG at mm/migrate.c:19! in elsewhere"
    ]
    assert done.stderr == (
        "-: none of the 1 functions that its reports name fits the build: is it of another?\n"
    )


def test_a_log_that_was_decoded_before_is_told(parse: Parse, built: Built) -> None:
    log = "WARNING: at mm/a.c:1 foo (mm/a.c:1)\nCall Trace:\nfoo (mm/a.c:1)\n"
    done = parse(log, "--build", str(built.build.folder))
    assert done.returncode == 3 and done.stdout == "1: WARNING: at mm/a.c:1 foo\n"
    assert done.stderr == (
        "-: no function of its reports has an offset to look up in the build: "
        "was it decoded before?\n"
    )
