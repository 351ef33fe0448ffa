# SPDX-License-Identifier: GPL-2.0-only
"""make's output: the first error, and whose it is."""

from __future__ import annotations

import pytest

from harness.build import failure
from harness.build.failure import Kind


@pytest.mark.parametrize(
    ("line", "kind", "place", "words"),
    [
        ("../mm/x.c:12:5: error: 'a' undeclared", Kind.COMPILE, ("mm/x.c", 12), "'a' undeclared"),
        (
            "/w/src/mm/x.h:3:1: fatal error: no.h: No such file or directory",
            Kind.COMPILE,
            ("mm/x.h", 3),
            "no.h",
        ),
        (
            "../arch/x86/entry/e.S:9: Error: no such instruction",
            Kind.COMPILE,
            ("arch/x86/entry/e.S", 9),
            "no such instruction",
        ),
        (
            "../mm/x.c:1:2: internal compiler error: Segmentation fault",
            Kind.COMPILE,
            ("mm/x.c", 1),
            "Segmentation",
        ),
        ("ld: vmlinux.o: in function `relocation_error':", None, ("", 0), ""),
        ("ld: compaction.c:(.text+0x12): undefined reference to `foo'", Kind.LINK, ("", 0), "foo"),
        ("ld.lld: error: undefined symbol: foo", Kind.LINK, ("", 0), "foo"),
        (
            "ld: mm/x.o:(.bss+0x0): multiple definition of `a'; mm/y.o: first defined here",
            Kind.LINK,
            ("", 0),
            "multiple definition",
        ),
        ("vmlinux.o: error: objtool: elf_init failed", Kind.LINK, ("vmlinux.o", 0), "elf_init"),
        ('ERROR: modpost: "foo" [/m/hello.ko] undefined!', Kind.MODULE, ("/m/hello.ko", 0), "foo"),
        ('ERROR: "foo" [/m/hello.ko] undefined!', Kind.MODULE, ("/m/hello.ko", 0), "foo"),
        ("../mm/Kconfig:7: syntax error", Kind.KCONFIG, ("mm/Kconfig", 7), "syntax"),
        (
            "mm/Kconfig:7:error: recursive dependency detected!",
            Kind.KCONFIG,
            ("mm/Kconfig", 7),
            "recursive",
        ),
        (
            "../mm/Makefile:3: *** missing separator.  Stop.",
            Kind.MAKE,
            ("mm/Makefile", 3),
            "missing",
        ),
        (
            "make[3]: *** No rule to make target 'mm/p.o', needed by 'mm/built-in.a'.  Stop.",
            Kind.MAKE,
            ("", 0),
            "mm/p.o",
        ),
        ("/bin/sh: 1: bison: not found", Kind.TOOL, ("", 0), "bison"),
        ("bash: line 1: bc: command not found", Kind.TOOL, ("", 0), "bc"),
        ("/bin/sh: 1: weird-tool: not found", None, ("", 0), ""),
        (
            "../tools/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory",
            Kind.TOOL,
            ("", 0),
            "gelf.h",
        ),
        ("gcc: fatal error: Killed signal terminated program cc1", Kind.HOST, ("", 0), "Killed"),
        ("../mm/x.c:12:5: warning: unused variable 'error' [-Wunused-variable]", None, ("", 0), ""),
        ("make[2]: *** [../Makefile:1201: vmlinux_o] Killed", Kind.HOST, ("", 0), "vmlinux_o"),
        (
            "make[2]: *** [../scripts/Makefile.build:229: mm/x.o] Error 1",
            Kind.MAKE,
            ("", 0),
            "mm/x.o",
        ),
    ],
)
def test_first_error(line: str, kind: Kind | None, place: tuple[str, int], words: str) -> None:
    found = failure.first(["  CC      mm/a.o", line], ["/w/src/"])
    if kind is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, (found.file, found.line)) == (kind, place)
    assert words in found.message


def test_the_first_of_several_errors_is_taken() -> None:
    found = failure.first(
        [
            "In file included from ../include/linux/mm.h:5,",
            "                 from ../mm/x.c:1:",
            "../include/linux/mm.h:9:1: error: first",
            "    9 | int a b;",
            "      |       ^",
            "make[3]: *** [../scripts/Makefile.build:229: mm/x.o] Error 1",
            "../mm/y.c:1:1: error: second",
        ]
    )
    assert found is not None
    assert (found.file, found.message) == ("include/linux/mm.h", "first")
    assert len(found.context) == 5
