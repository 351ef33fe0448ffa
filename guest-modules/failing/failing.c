// SPDX-License-Identifier: GPL-2.0-only
/* System calls whose allocations may fail: see failing_uapi.h. No C library. */
#include <stddef.h>

#include "failing_uapi.h"

#define __noreturn	__attribute__((__noreturn__)) /* no kernel header */
#define __used		__attribute__((__used__))

#define AT_FDCWD	(-100)
#define O_WRONLY	1
#define PROT_RW		3
#define MAP_POPULATED	0x8022	/* private, anonymous */
#define MAPPED		16384
#define MANY		1000000L

#if defined(__x86_64__)
enum {
	NR_WRITE = 1, NR_CLOSE = 3, NR_MMAP = 9, NR_MUNMAP = 11,
	NR_EXIT = 231, NR_OPENAT = 257,
};

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n"
	"\tand $-16, %rsp\n\tcall begin\n");
#elif defined(__aarch64__)
enum {
	NR_WRITE = 64, NR_CLOSE = 57, NR_MMAP = 222, NR_MUNMAP = 215,
	NR_EXIT = 94, NR_OPENAT = 56,
};

static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0" : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

__asm__(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x0, sp\n\tbl begin\n");
#else
#error "which architecture is this?"
#endif

static __noreturn void leave(int status)
{
	for (;;)
		call(NR_EXIT, status, 0, 0, 0, 0, 0);
}

static long put(long fd, const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return call(NR_WRITE, fd, (long)text, (long)length, 0, 0, 0);
}

static __noreturn void wrong(const char *why)
{
	put(2, "failing: ");
	put(2, why);
	put(2, "\n");
	leave(1);
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static long open_file(const char *path, long flags)
{
	long fd = call(NR_OPENAT, AT_FDCWD, (long)path, flags, 0, 0, 0);

	if (fd < 0)
		wrong("a file cannot be opened");
	return fd;
}

/* Print an errno, 0 to 4095. */
static void answer(long err)
{
	char text[] = FAILING_ERRNO "0000\n";
	long digit = sizeof(text) - 3;

	for (; err; err /= 10)
		text[digit--] = (char)('0' + err % 10);
	put(1, text);
}

static void set(long fd, const char *flag)
{
	if (put(fd, flag) != 1)
		wrong("/proc/self/make-it-fail cannot be written");
}

static void write_once(const char *path, const char *text)
{
	long flag = open_file("/proc/self/make-it-fail", O_WRONLY);
	long fd = open_file(path, O_WRONLY);
	long done;

	set(flag, "1");
	done = put(fd, text);
	set(flag, "0");
	answer(done < 0 ? -done : 0);
}

static void drain(long times)
{
	long flag = open_file("/proc/self/make-it-fail", O_WRONLY);

	set(flag, "1");
	while (times--) {
		long at, fd = call(NR_OPENAT, AT_FDCWD, (long)"/proc/self/stat",
				   0, 0, 0, 0);

		if (fd >= 0)
			call(NR_CLOSE, fd, 0, 0, 0, 0, 0);
		at = call(NR_MMAP, 0, MAPPED, PROT_RW, MAP_POPULATED, -1, 0);
		if (at > 0)
			call(NR_MUNMAP, at, MAPPED, 0, 0, 0, 0);
	}
	set(flag, "0");
}

static long parsed(const char *word)
{
	long value = 0;

	for (; *word >= '0' && *word <= '9' && value <= MANY; word++)
		value = value * 10 + (*word - '0');
	if (*word || value > MANY)
		wrong("TIMES is no number, or too large a one");
	return value;
}

__used __noreturn void begin(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);

	if (argc == 4 && same(argv[1], FAILING_WRITE))
		write_once(argv[2], argv[3]);
	else if (argc == 3 && same(argv[1], FAILING_DRAIN))
		drain(parsed(argv[2]));
	else
		wrong("these words are not known");
	leave(0);
}
