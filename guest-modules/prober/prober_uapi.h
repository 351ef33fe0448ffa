/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prober's ABI: what is under /sys/kernel/debug/prober, and its words.
 *
 * control (w): one command for each write(2), whose errno says whether it was
 * done; what the subsystem answered is among the facts, as "result".
 *
 *   pin <n> <every>	of each <every> pages one is pinned, n in all
 *   unpin		clear_pinpage() for each; result: how many it refused
 *   refuse <errno> <every>	the callback refuses every <every>th page of
 *			those it is asked for, the first one included
 *   busy <every>	it says -EAGAIN for one of each <every>, another one
 *   sleep <0|1>	the callback sleeps
 *   bare <0|1>		page->lru is left as it is, which the owner has to
 *   keep <0|1>		the owner does not put the old page, as posted it has to
 *   deny <0|1>		find_page says that the page is nobody's
 *   unmovable <0|1>	pages come from where the unmovable ones are
 *   thin <n>		give back each page whose pfn is a multiple of n
 *   fill <n>		take unmovable pages until n are free; never given back
 *   hold		a second reference on each page, as I/O would have it
 *   lock <0|1>		the callback locks every second page that is isolated
 *			beside its own, once there are many
 *   unlock		unlock them
 *   sweep <0|1>	a thread clears pages that have a second reference, but are
 *			not locked: in the middle of their isolation
 *   contig		ask for ranges with such pages, as CMA does
 *   desert <0|1>	during each callback the other pages that are isolated are
 *			given up
 *   private <n>	pin n single pages with a private pointer
 *   cycle <n>		pin and clear one page n times
 *   repeat <n>		pin a page that is registered n times more
 *   nest, compound, gone, fails, stale, freed
 *   unlocked		see trial.c for these
 *   life		see life.c
 *
 * facts (r): <name> <value> a line. pages (r): the pfn of each page, a line.
 */
#ifndef PROBER_UAPI_H
#define PROBER_UAPI_H

#define PROBER_DIR		"prober"	/* under debugfs */
#define PROBER_CONTROL		"control"
#define PROBER_FACTS		"facts"
#define PROBER_PAGES		"pages"
#define PROBER_COMMAND_MAX	63		/* characters of a command */

#endif
