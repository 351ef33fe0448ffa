/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ABI of cma_alloc: what is under /sys/kernel/debug/cma_alloc, its words.
 *
 * All numbers are decimal, pfns too.
 */
#ifndef CMA_ALLOC_UAPI_H
#define CMA_ALLOC_UAPI_H

#define CMA_ALLOC_DIR		"cma_alloc"	/* under debugfs */

/*
 * control (w): one command for each write(2), whose errno is the result.
 *
 *   alloc <pages> <align>			one buffer, which is kept
 *   free_all					give the kept ones back
 *   storm <threads> <tries> <pages> <align>	get and give back, side by side
 *
 * align is an order of pages. Where the kernel has no way to ask for it, it is
 * what the size brings with it: see align_follows. An attempt that fails is a
 * result, not an error of the command.
 *
 * -EINVAL: no such command, or its numbers are out of range; -EOPNOTSUPP: the
 * kernel has no contiguous areas that a module could reach; -EINTR; -ENOMEM.
 */
#define CMA_ALLOC_CONTROL	"control"
#define CMA_ALLOC_COMMAND_MAX	127		/* characters of a command */

#define CMA_ALLOC_ALLOC		"alloc"
#define CMA_ALLOC_FREE_ALL	"free_all"
#define CMA_ALLOC_STORM		"storm"
#define CMA_ALLOC_THREADS_MAX	64

/*
 * results (r): the header, then an attempt a line, the oldest first:
 *
 *   <seq> <thread> <pages> <align> <pfn> <errno> <ns>
 *
 * thread 0: an alloc; 1 and up: those of a storm. pfn: of the first page, 0 if
 * there is none. errno: negative, 0 if it was had. ns: how long it took. The
 * last line tells how many of them, the oldest, no longer fit:
 *
 *   dropped <n>
 */
#define CMA_ALLOC_RESULTS	"results"
#define CMA_ALLOC_HEADER	"cma_alloc-results 1"
#define CMA_ALLOC_DROPPED	"dropped"
#define CMA_ALLOC_RESULTS_MAX	16384

/*
 * facts (r): <name> <value> a line
 *
 *   align_follows	1: the alignment is that of the size; 0: as asked for
 *   kept		buffers kept
 */
#define CMA_ALLOC_FACTS		"facts"

#endif
