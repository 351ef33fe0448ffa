/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of the guest's program failing. It has the kernel's fault injection
 * fail its own system calls (/proc/self/make-it-fail), and does nothing else
 * meanwhile: no page of its own is touched for the first time.
 *
 *   write FILE TEXT	one write(2) of TEXT to FILE, which was opened before
 *   drain TIMES	open a file and map some memory, so many times: calls of
 *			the slab and of the page allocator
 *
 * It prints "errno N" of the write, 0 or positive. Exit status 0; 1: it could
 * not be done, with the reason on stderr.
 */
#ifndef FAILING_UAPI_H
#define FAILING_UAPI_H

#define FAILING_WRITE	"write"
#define FAILING_DRAIN	"drain"
#define FAILING_ERRNO	"errno "

#endif
