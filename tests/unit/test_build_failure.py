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
        (
            "../mm/x.c:3:10: fatal error: stdio.h: No such file or directory",
            Kind.COMPILE,
            ("mm/x.c", 3),
            "stdio.h",
        ),
        (
            "/w/src/mm/x.h:3:10: fatal error: 'elf.h' file not found",
            Kind.COMPILE,
            ("mm/x.h", 3),
            "elf.h",
        ),
        (
            "/w/src/scripts/sorttable.c:30:10: fatal error: 'elf.h' file not found",
            Kind.TOOL,
            ("", 0),
            "elf.h",
        ),
        (
            "scripts/basic/fixdep.c:98:10: fatal error: stdlib.h: No such file or directory",
            Kind.TOOL,
            ("", 0),
            "stdlib.h",
        ),
        (
            "/usr/lib/gcc/x86_64-linux-gnu/12/plugin/include/system.h:703:10: "
            "fatal error: gmp.h: No such file or directory",
            Kind.TOOL,
            ("", 0),
            "gmp.h",
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


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("../scripts/Makefile.host:114: certs/extract-cert", Kind.TOOL),
        ("../scripts/Makefile.host:131: certs/extract-cert.o", Kind.TOOL),
        ("../scripts/Makefile.build:229: certs/extract-cert.o", Kind.COMPILE),
        ("../scripts/Makefile.host:114: usr/gen_init_cpio", Kind.COMPILE),
    ],
)
def test_a_host_program_is_known_by_its_rule(rule: str, kind: Kind) -> None:
    found = failure.first(
        [
            "../certs/extract-cert.c:21:10: fatal error: openssl/bio.h: No such file or directory",
            "   21 | #include <openssl/bio.h>",
            "      |          ^~~~~~~~~~~~~~~",
            "compilation terminated.",
            f"make[2]: *** [{rule}] Error 1",
        ]
    )
    assert found is not None and found.kind is kind


def test_a_host_program_is_known_by_what_includes_the_header() -> None:
    """make of tools/ names files from the tool's folder."""
    found = failure.first(
        [
            "In file included from arch/x86/decode.c:26:0:",
            "arch/x86/../../elf.h:23:18: fatal error: gelf.h: No such file or directory",
            "make[4]: *** [/w/src/tools/build/Makefile.build:96: /w/obj/arch/x86/decode.o] Error 1",
        ],
        ["/w/src/"],
    )
    assert found is not None and found.kind is Kind.TOOL


@pytest.mark.parametrize(
    "excerpt",
    [
        '  123 |  pr_err("Cannot allocate memory");',
        '12345 |  pr_err("No space left on device: %s: flex: not found',
        "      |  Cannot allocate memory",
    ],
)
def test_the_source_that_a_warning_shows_is_no_error(excerpt: str) -> None:
    found = failure.first(
        [
            "../mm/x.c:123:2: warning: unused variable 'x' [-Wunused-variable]",
            excerpt,
            "../mm/x.c:130:2: error: 'y' undeclared",
        ]
    )
    assert found is not None
    assert (found.kind, found.line) == (Kind.COMPILE, 130)


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
