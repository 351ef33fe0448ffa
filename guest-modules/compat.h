/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs from kernel to kernel. No module looks by itself at the
 * kernel's version or features. Probed, not compared by version, as series and
 * backports change what a kernel of a version has.
 */
#ifndef COMPAT_H
#define COMPAT_H

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/wait.h>

/* Split from linux/sched.h in v4.11 */
#if __has_include("linux/sched/signal.h")
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#endif

/*
 * The pin page subsystem. The posted one has no PINPAGE_CONTRACT, and declares
 * neither of clear_pinpage() and unregister_pinpage(). It leaves the owner's
 * reference on a page that has moved to the owner, and forgets its registration
 * then. Contract 2 passes the reference on, and registers the new page.
 */
#if __has_include("linux/pinpage.h")
#include <linux/pinpage.h>
#ifndef PINPAGE_CONTRACT
#define COMPAT_PINPAGE	1
#define COMPAT_PINPAGE_POSTED	1
#elif defined(CONFIG_PINPAGE)
#define COMPAT_PINPAGE	1
#endif
#ifdef COMPAT_PINPAGE
int clear_pinpage(struct pinpage_system *psys, struct page *page);
int unregister_pinpage(struct pinpage_system *psys);
#endif
#endif

#ifndef COMPAT_PINPAGE
#define COMPAT_PINPAGE	0
#endif
#ifndef COMPAT_PINPAGE_POSTED
#define COMPAT_PINPAGE_POSTED	0
#endif

#if COMPAT_PINPAGE
/* Is this what set_pinpage() was given? As posted, there is no way to ask. */
static inline bool compat_private_is(struct pinpage_system *psys,
				     struct page *page, void *private)
{
#if COMPAT_PINPAGE_POSTED
	return true;
#else
	return general_page_private(psys, page) == private;
#endif
}
#endif

/*
 * A range of pages for ourselves, as CMA gets them. It is exported, and a macro
 * over the allocation profiling, from v6.10 on; before v4.12 it is not, but
 * kallsyms_lookup_name() is. Kernels between the two are done without.
 */
#if defined(CONFIG_CONTIG_ALLOC) && defined(alloc_contig_range)
#define COMPAT_CONTIG	1
static inline int compat_contig(unsigned long start, unsigned long end)
{
	int err = alloc_contig_range(start, end, MIGRATE_MOVABLE, GFP_KERNEL);

	if (!err)
		free_contig_range(start, end - start);
	return err;
}
#elif defined(CONFIG_CMA) && !__has_include("linux/sched/mm.h")
#include <linux/kallsyms.h>
#define COMPAT_CONTIG	1
static inline int compat_contig(unsigned long start, unsigned long end)
{
	typeof(alloc_contig_range) *get =
		(void *)kallsyms_lookup_name("alloc_contig_range");
	typeof(free_contig_range) *put =
		(void *)kallsyms_lookup_name("free_contig_range");
	int err;

	if (!get || !put)
		return -EOPNOTSUPP;
	err = get(start, end, MIGRATE_MOVABLE);
	if (!err)
		put(start, end - start);
	return err;
}
#else
#define COMPAT_CONTIG	0
static inline int compat_contig(unsigned long start, unsigned long end)
{
	return -EOPNOTSUPP;
}
#endif

/* kmap_local_page() came with this file in v5.11 */
#if !__has_include("linux/highmem-internal.h")
#define kmap_local_page	kmap_atomic
#define kunmap_local	kunmap_atomic
#endif

#ifndef READ_ONCE
#define READ_ONCE(x)		ACCESS_ONCE(x)
#define WRITE_ONCE(x, val)	(ACCESS_ONCE(x) = (val))
#endif

/* page->index: of folios since v5.16, and of nothing else since v6.16 */
static inline pgoff_t *compat_index(struct page *page)
{
#ifdef folio_page
	return &page_folio(page)->index;
#else
	return &page->index;
#endif
}

/* Whoever is woken when a page is unlocked: of folios since v5.16 */
#ifdef folio_page
#define compat_waiter		wait_queue_entry
#define compat_waiter_list	entry
static inline void compat_await(struct page *page, struct compat_waiter *waiter)
{
	folio_add_wait_queue(page_folio(page), waiter);
}
#else
#define compat_waiter		__wait_queue
#define compat_waiter_list	task_list
#define compat_await		add_page_wait_queue
#endif

/* MAX_ORDER was one more than the highest order until v6.4 */
#ifdef MAX_PAGE_ORDER
#define COMPAT_MAX_ORDER	MAX_PAGE_ORDER
#else
#define COMPAT_MAX_ORDER	(MAX_ORDER - 1)
#endif

/* Neither reclaim nor compact, wake nobody who does, spare the reserves */
#ifdef __GFP_RECLAIM
#define COMPAT_GFP_CALM		0
#else
#define COMPAT_GFP_CALM		__GFP_NO_KSWAPD
#endif
#define COMPAT_GFP_ATTEMPT	(__GFP_HIGHMEM | __GFP_MOVABLE |	\
				 __GFP_NOWARN | __GFP_NORETRY |		\
				 __GFP_NOMEMALLOC | COMPAT_GFP_CALM)
#define COMPAT_GFP_UNMOVABLE	(COMPAT_GFP_ATTEMPT &			\
				 ~(__GFP_HIGHMEM | __GFP_MOVABLE))

/*
 * Pages that are counted as isolated, less than none too, where /proc/vmstat
 * has 0. Newer kernels tell of such counters by themselves (v4.7: stat_refresh),
 * and keep them for nodes (v4.8).
 */
#ifndef __GFP_RECLAIM
#define COMPAT_NR_ISOLATED	1
static inline long compat_zone_isolated(struct zone *zone)
{
	long sum = atomic_long_read(&zone->vm_stat[NR_ISOLATED_ANON]) +
		   atomic_long_read(&zone->vm_stat[NR_ISOLATED_FILE]);
#ifdef CONFIG_SMP
	int cpu;

	for_each_online_cpu(cpu) {
		struct per_cpu_pageset *own = per_cpu_ptr(zone->pageset, cpu);

		sum += own->vm_stat_diff[NR_ISOLATED_ANON] +
		       own->vm_stat_diff[NR_ISOLATED_FILE];
	}
#endif
	return sum;
}

static inline long compat_nr_isolated(void)
{
	long sum = 0;
	int nid, i;

	for_each_online_node(nid) {
		for (i = 0; i < MAX_NR_ZONES; i++) {
			struct zone *zone = &NODE_DATA(nid)->node_zones[i];

			if (populated_zone(zone))
				sum += compat_zone_isolated(zone);
		}
	}
	return sum;
}
#endif

/*
 * Whether free pages are counted right: before v3.18 those that come free while
 * a block is isolated are not (mm/page_alloc.c: free_one_page()). What is asked
 * for came in v4.4.
 */
#ifdef __GFP_RECLAIM
#define COMPAT_FREE_COUNTED	true
#else
#define COMPAT_FREE_COUNTED	false
#endif

/* Free pages, above what is kept, that who needs an unmovable one can have */
static inline unsigned long compat_free_fixed(void)
{
	unsigned long sum = 0;
	int nid, i;

	for_each_online_node(nid) {
		for (i = 0; i < ZONE_MOVABLE; i++) {
			struct zone *zone = &NODE_DATA(nid)->node_zones[i];
			unsigned long free, kept;

			if (!populated_zone(zone))
				continue;
			free = zone_page_state(zone, NR_FREE_PAGES);
			kept = zone_page_state(zone, NR_FREE_CMA_PAGES) +
			       min_wmark_pages(zone);
			sum += free > kept ? free - kept : 0;
		}
	}
	return sum;
}

/* pfn_to_online_page() came in v4.14, and this flag beside it in v5.8 */
#ifdef MHP_NONE
#define compat_online_page	pfn_to_online_page
#else
#define compat_online_page(pfn)	(pfn_valid(pfn) ? pfn_to_page(pfn) : NULL)
#endif

#endif
