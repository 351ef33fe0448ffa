/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pinner's ABI: what is under /sys/kernel/debug/pinner, and its words.
 *
 * All numbers are decimal, pfns too. A change that an old reader would take
 * wrongly gets a new number in the header line of the file.
 */
#ifndef PINNER_UAPI_H
#define PINNER_UAPI_H

#define PINNER_DIR		"pinner"	/* under debugfs */

/*
 * control (w): one command for each write(2), whose errno is the result.
 *
 *   layout <pages> <every> <seed>	strew objects over memory, all or none
 *   fill <pfn> <count> <every> <seed>	the same in what is free of so many frames
 *   store <count> <seed>		store more objects, in any pages
 *   free <handle>			-ENOENT: there is none
 *   free_all
 *   verify				check all contents, see the ledger
 *   huge <order> <max>			count free blocks, see huge_got
 *   churn <ops> <seed> <threads>	in the background; 0 ops stop it
 *   refuse <errno> <times> <every>	the callback refuses to move one object of
 *					each <every>, so many times each from now on;
 *					0 times: none
 *
 * -EINVAL: no such command, or its numbers are out of range; -EBUSY: churn is
 * running already; -EINTR: a signal came; -ENOSPC: none of the frames is free;
 * -ENOMEM.
 */
#define PINNER_CONTROL		"control"
#define PINNER_COMMAND_MAX	127		/* characters of a command */

#define PINNER_LAYOUT		"layout"
#define PINNER_FILL		"fill"
#define PINNER_STORE		"store"
#define PINNER_FREE		"free"
#define PINNER_FREE_ALL		"free_all"
#define PINNER_VERIFY		"verify"
#define PINNER_HUGE		"huge"
#define PINNER_CHURN		"churn"
#define PINNER_REFUSE		"refuse"

/*
 * ledger (r): the header, then an object a line, in the order of handles:
 *
 *   <handle> <pfn_pin> <pfn_now> <moves> <errno> <state>
 *
 * errno is the owner's last refusal to move it, negative; 0: none.
 */
#define PINNER_LEDGER		"ledger"
#define PINNER_LEDGER_HEADER	"pinner-ledger 1"
#define PINNER_STORED		"stored"
#define PINNER_CORRUPT		"corrupt"	/* the contents changed, or page->index */
#define PINNER_LOST		"lost"		/* the page isn't the owner's */

/*
 * refs (r): the header, then an object a line, in the order of handles:
 *
 *   <handle> <pfn_now> <refcount>
 */
#define PINNER_REFS		"refs"
#define PINNER_REFS_HEADER	"pinner-refs 1"

/*
 * moves (r): the header, then each call of the migrate callback:
 *
 *   <seq> <handle> <pfn_old> <pfn_new> <errno>
 *
 * errno 0: moved; otherwise negative: refused. handle 0: no object of ours.
 * The last line tells how many of the calls, the oldest, no longer fit:
 *
 *   dropped <n>
 */
#define PINNER_MOVES		"moves"
#define PINNER_MOVES_HEADER	"pinner-moves 1"
#define PINNER_MOVES_DROPPED	"dropped"
#define PINNER_MOVES_MAX	131072

/*
 * counters (r): <name> <value> a line, see debugfs.c for all of them.
 */
#define PINNER_COUNTERS		"counters"

/* Module parameter mode= */
#define PINNER_MODE_PLAIN	"plain"		/* nobody can move the pages */
#define PINNER_MODE_PINPAGE	"pinpage"	/* registered: can be moved */

/* Module parameter lie=, with which the harness tests itself */
#define PINNER_LIE_NONE		"none"
#define PINNER_LIE_NOCOPY	"nocopy"	/* moves without the contents */
#define PINNER_LIE_GHOST	"ghost"		/* notes moves that weren't */
#define PINNER_LIE_KEEP		"keep"		/* goes on with the old page */
#define PINNER_LIE_LEAK		"leak"		/* never frees the first page it should */

#endif
