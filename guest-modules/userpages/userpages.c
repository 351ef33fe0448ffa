// SPDX-License-Identifier: GPL-2.0-only
/* A process that has pages: see userpages_uapi.h. It has no C library. */
#include <stddef.h>

typedef unsigned long long u64;

#define __noreturn	__attribute__((__noreturn__)) /* no kernel header */
#define __used		__attribute__((__used__))

#define PAGE		4096UL
#define BATCH		4096
#define NODES		64
#define ERRNOS		200
#define TEXT		65536

#define PROT_RW		3
#define MAP_ANON_PRIV	0x22
#define MADV_HUGEPAGE	14
#define MADV_NOHUGEPAGE	15
#define MPOL_BIND	2
#define MPOL_MF_MOVE_ALL 4
#define SIG_BLOCK	0
#define SIGUSR1		10
#define SIGUSR2		12
#define SIGTERM		15
#define HUGE		(2UL << 20)

#if defined(__x86_64__)
enum {
	NR_READ = 0, NR_WRITE = 1, NR_MMAP = 9, NR_SIGPROCMASK = 14,
	NR_PREAD = 17, NR_MADVISE = 28, NR_GETPID = 39, NR_EXIT = 231,
	NR_SIGTIMEDWAIT = 128, NR_MBIND = 237, NR_MIGRATE = 256,
	NR_OPENAT = 257, NR_MOVE = 279,
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
	NR_READ = 63, NR_WRITE = 64, NR_MMAP = 222, NR_SIGPROCMASK = 135,
	NR_PREAD = 67, NR_MADVISE = 233, NR_GETPID = 172, NR_EXIT = 94,
	NR_SIGTIMEDWAIT = 137, NR_MBIND = 235, NR_MIGRATE = 238,
	NR_OPENAT = 56, NR_MOVE = 239,
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

#define CALL1(nr, a)		call(nr, (long)(a), 0, 0, 0, 0, 0)
#define CALL3(nr, a, b, c)	call(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(nr, a, b, c, d)	call(nr, (long)(a), (long)(b), (long)(c),	\
				     (long)(d), 0, 0)
#define CALL6(nr, a, b, c, d, e, f)	call(nr, (long)(a), (long)(b), (long)(c),	\
					     (long)(d), (long)(e), (long)(f))

static __noreturn void leave(int status)
{
	for (;;)
		CALL1(NR_EXIT, status);
}

/* Output ---------------------------------------------------------------- */

static char line[512];
static size_t length;

static void flush(void)
{
	size_t done = 0;

	while (done < length) {
		long put = CALL3(NR_WRITE, 1, line + done, length - done);

		if (put <= 0)
			leave(4);
		done += (size_t)put;
	}
	length = 0;
}

static void character(char c)
{
	if (length == sizeof(line))
		flush();
	line[length++] = c;
}

static void text(const char *words)
{
	while (*words)
		character(*words++);
}

static void number(long value)
{
	unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
	char digits[24];
	int n = 0;

	if (value < 0)
		character('-');
	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	while (n)
		character(digits[--n]);
}

static void pair(long first, long second)
{
	character(' ');
	number(first);
	character(' ');
	number(second);
	character('\n');
}

static void said(const char *word, long first, long second)
{
	text(word);
	pair(first, second);
}

static __noreturn void wrong(const char *why, long err)
{
	length = 0;
	text("userpages: ");
	text(why);
	text(": error ");
	number(err);
	character('\n');
	CALL3(NR_WRITE, 2, line, length);
	leave(1);
}

/* Words ----------------------------------------------------------------- */

static long parsed(const char *word)
{
	int minus = *word == '-';
	long value = 0;

	word += minus;
	if (!*word)
		wrong("a number is missing", 0);
	for (; *word; word++) {
		if (*word < '0' || *word > '9' || value > (1L << 58))
			wrong("that is no number", 0);
		value = value * 10 + (*word - '0');
	}
	return minus ? -value : value;
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* hold ------------------------------------------------------------------ */

static u64 pattern(u64 page, u64 word)
{
	return (page * 0x9e3779b97f4a7c15ULL) ^ (word * 0xd6e8feb86659fd93ULL) ^
	       0x70696e70616765ULL;
}

static void fill(u64 *base, unsigned long pages)
{
	for (unsigned long p = 0; p < pages; p++)
		for (unsigned long w = 0; w < PAGE / 8; w++)
			base[p * (PAGE / 8) + w] = pattern(p, w);
}

static unsigned long differing(const u64 *base, unsigned long pages)
{
	unsigned long bad = 0;

	__asm__ volatile("" : : "r"(base) : "memory");
	for (unsigned long p = 0; p < pages; p++) {
		for (unsigned long w = 0; w < PAGE / 8; w++) {
			if (base[p * (PAGE / 8) + w] != pattern(p, w)) {
				bad++;
				break;
			}
		}
	}
	return bad;
}

static __noreturn void obey(u64 *base, unsigned long pages, u64 signals)
{
	for (;;) {
		long got = CALL4(NR_SIGTIMEDWAIT, &signals, 0, 0, sizeof(signals));

		if (got == SIGTERM)
			leave(0);
		if (got == SIGUSR1) {
			unsigned long bad = differing(base, pages);

			if (bad)
				said("bad", (long)bad, (long)pages);
			else
				said("whole", (long)pages, (long)pages);
			flush();
		} else if (got == SIGUSR2) {
			said("advised", -CALL3(NR_MADVISE, base, pages * PAGE,
					       MADV_HUGEPAGE), 0);
			flush();
		}
	}
}

static __noreturn void hold(long mib, long node, const char *way)
{
	u64 signals = 1UL << (SIGUSR1 - 1) | 1UL << (SIGUSR2 - 1) |
			   1UL << (SIGTERM - 1);
	unsigned long pages, bytes, base, mask;
	long err;

	if (mib < 1 || mib > (1L << 20) || node < -1 || node >= NODES)
		wrong("MIB or NODE is out of range", 0);
	bytes = (unsigned long)mib << 20;
	pages = bytes / PAGE;
	CALL4(NR_SIGPROCMASK, SIG_BLOCK, &signals, 0, sizeof(signals));

	err = CALL6(NR_MMAP, 0, bytes + HUGE, PROT_RW, MAP_ANON_PRIV, -1, 0);
	if (err < 0 && err > -4096)
		wrong("mmap()", -err);
	base = ((unsigned long)err + HUGE - 1) & ~(HUGE - 1);
	if (node >= 0) {
		mask = 1UL << node;
		err = CALL6(NR_MBIND, base, bytes, MPOL_BIND, &mask, NODES + 1, 0);
		if (err)
			wrong("mbind()", -err);
	}
	if (same(way, "huge"))
		err = CALL3(NR_MADVISE, base, bytes, MADV_HUGEPAGE);
	else if (same(way, "small"))
		err = CALL3(NR_MADVISE, base, bytes, MADV_NOHUGEPAGE);
	else if (!same(way, "plain"))
		wrong("WAY is plain, huge or small", 0);
	if (err && !same(way, "plain"))
		wrong("madvise()", -err);
	fill((u64 *)base, pages);

	text("held ");
	number(CALL1(NR_GETPID, 0));
	pair((long)base, (long)pages);
	flush();
	obey((u64 *)base, pages, signals);
}

/* Another process's pages ------------------------------------------------ */

static void *addresses[BATCH];
static int wanted[BATCH], status[BATCH];
static long by_node[NODES], by_errno[ERRNOS];

/* NODE -1: only where they are */
static void move(long pid, unsigned long addr, long pages, long node)
{
	long err = 0, ret = 0;

	if (pages < 0 || node < -1 || node >= NODES)
		wrong("PAGES or NODE is out of range", 0);
	while (pages) {
		long n = pages < BATCH ? pages : BATCH;

		for (long i = 0; i < n; i++) {
			addresses[i] = (void *)(addr + (unsigned long)i * PAGE);
			wanted[i] = (int)node;
			status[i] = -ERRNOS;
		}
		ret = CALL6(NR_MOVE, pid, n, addresses, node < 0 ? NULL : wanted,
			    status, node < 0 ? 0 : MPOL_MF_MOVE_ALL);
		if (ret < 0 && !err)
			err = -ret;
		for (long i = 0; i < n; i++) {
			if (status[i] >= 0 && status[i] < NODES)
				by_node[status[i]]++;
			else if (status[i] < 0 && -status[i] < ERRNOS)
				by_errno[-status[i]]++;
			else
				by_errno[0]++;
		}
		addr += (unsigned long)n * PAGE;
		pages -= n;
	}
	said("result", err, ret);
	for (long i = 0; i < NODES; i++)
		if (by_node[i])
			said("node", i, by_node[i]);
	for (long i = 0; i < ERRNOS; i++)
		if (by_errno[i])
			said("errno", i, by_errno[i]);
	flush();
}

static void migrate(long pid, long from, long to)
{
	unsigned long old, new;
	long ret;

	if (from < 0 || to < 0 || from >= NODES || to >= NODES)
		wrong("a node is out of range", 0);
	old = 1UL << from;
	new = 1UL << to;
	ret = CALL4(NR_MIGRATE, pid, NODES + 1, &old, &new);
	said("result", ret < 0 ? -ret : 0, ret < 0 ? 0 : ret);
	flush();
}

/* pread ------------------------------------------------------------------ */

static char piece[TEXT];

static int next_character(void)
{
	static char buffer[4096];
	static long have, at;

	if (at == have) {
		have = CALL3(NR_READ, 0, buffer, sizeof(buffer));
		at = 0;
		if (have <= 0)
			return -1;
	}
	return (unsigned char)buffer[at++];
}

static void pread_at(long fd, long offset, long bytes)
{
	long got = CALL4(NR_PREAD, fd, piece, bytes, offset);

	character('@');
	number(offset);
	character(' ');
	number(got);
	character('\n');
	for (long i = 0; i < got; i++)
		character(piece[i]);
	character('\n');
}

static void pread_all(const char *path, long bytes)
{
	long fd, offset = 0;
	int c, digits = 0;

	if (bytes < 1 || bytes > TEXT)
		wrong("BYTES is out of range", 0);
	fd = CALL4(NR_OPENAT, -100, path, 0, 0);
	if (fd < 0)
		wrong("FILE cannot be opened", -fd);
	do {
		c = next_character();
		if (c >= '0' && c <= '9' && offset < (1L << 58)) {
			offset = offset * 10 + (c - '0');
			digits = 1;
		} else if (digits) {
			pread_at(fd, offset, bytes);
			offset = 0;
			digits = 0;
		}
	} while (c >= 0);
	flush();
}

__used __noreturn void begin(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);

	if (argc == 5 && same(argv[1], "hold"))
		hold(parsed(argv[2]), parsed(argv[3]), argv[4]);
	if (argc == 5 && same(argv[1], "where"))
		move(parsed(argv[2]), (unsigned long)parsed(argv[3]), parsed(argv[4]), -1);
	else if (argc == 6 && same(argv[1], "move"))
		move(parsed(argv[2]), (unsigned long)parsed(argv[3]), parsed(argv[4]),
		     parsed(argv[5]));
	else if (argc == 5 && same(argv[1], "migrate"))
		migrate(parsed(argv[2]), parsed(argv[3]), parsed(argv[4]));
	else if (argc == 4 && same(argv[1], "pread"))
		pread_all(argv[2], parsed(argv[3]));
	else
		wrong("these words are not known", 0);
	leave(0);
}
