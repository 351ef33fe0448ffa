// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fragmentation, made and measured. Neither of them may have anything reclaimed
 * or compacted, and both leave a part of the memory to the rest of the system.
 */
#define pr_fmt(fmt) "pinner: " fmt

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/printk.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "pinner.h"

#define PINNER_RESERVE_PART	16	/* of all memory */
#define PINNER_RESERVE_FILL	128	/* the same, for a short time */
#define PINNER_BATCH		256	/* pages between two looks up */
#define PINNER_CUSHION_ORDER	3
#define PINNER_OTHERS_PART	64	/* the same, for others while a range is filled */
#define PINNER_OTHERS_MOST	(16UL << (20 - PAGE_SHIFT))	/* pages */

struct pinner_plan {
	struct page **pages;		/* NULL where it is stored */
	unsigned long room;		/* of pages */
	struct pinner_object **objects;	/* a reference on each */
	unsigned long *picks;		/* which of the pages are kept */
	unsigned long wanted;		/* objects */
	unsigned long every;
	unsigned long count;		/* pages allocated */
	unsigned long picked;
	unsigned long stored;		/* objects in the table */
	unsigned long spare;		/* pages that could be taken */
	unsigned long others;		/* pages that others can always have */
};

/* Pages free beyond the @part of all memory that is left to the others */
static unsigned long pinner_spare_beyond(unsigned int part,
					 unsigned long *total)
{
	unsigned long reserve;
	struct sysinfo info;

	si_meminfo(&info);
	reserve = info.totalram / part;
	if (total)
		*total = info.totalram;
	return info.freeram > reserve ? info.freeram - reserve : 0;
}

static unsigned long pinner_spare(unsigned long *total)
{
	return pinner_spare_beyond(PINNER_RESERVE_PART, total);
}

/* Whether others can have pages, unmovable ones too, as many as are theirs */
static bool pinner_leaves(const struct pinner_plan *plan)
{
	return compat_free_fixed() >= plan->others;
}

/* Time for others, and for a signal: 0 or -EINTR */
static int pinner_pause(unsigned long i)
{
	if (i % PINNER_BATCH)
		return 0;
	cond_resched();
	return signal_pending(current) ? -EINTR : 0;
}

static int pinner_by_pfn(const void *a, const void *b)
{
	unsigned long x = page_to_pfn(*(struct page * const *)a);
	unsigned long y = page_to_pfn(*(struct page * const *)b);

	return x < y ? -1 : x > y;
}

/* The owner's own memory first, so that it doesn't land between the pages. */
static int pinner_plan_alloc(struct pinner_plan *plan)
{
	unsigned long i;
	int err;

	plan->pages = vzalloc(plan->room * sizeof(*plan->pages));
	plan->objects = vzalloc(plan->wanted * sizeof(*plan->objects));
	plan->picks = vzalloc(plan->wanted * sizeof(*plan->picks));
	if (!plan->pages || !plan->objects || !plan->picks)
		return -ENOMEM;

	for (i = 0; i < plan->wanted; i++) {
		plan->objects[i] = pinner_object_alloc();
		if (!plan->objects[i])
			return -ENOMEM;
		err = pinner_pause(i);
		if (err)
			return err;
	}
	return 0;
}

static void pinner_plan_sort(struct pinner_plan *plan)
{
	sort(plan->pages, plan->count, sizeof(*plan->pages), pinner_by_pfn,
	     NULL);
}

static int pinner_plan_fill(struct pinner_plan *plan)
{
	int err;

	while (plan->count < plan->room) {
		struct page *page = alloc_page(COMPAT_GFP_ATTEMPT);

		if (!page)
			return -ENOMEM;
		plan->pages[plan->count++] = page;
		err = pinner_pause(plan->count);
		if (err)
			return err;
	}
	pinner_plan_sort(plan);
	return 0;
}

static struct page *pinner_get(int node, gfp_t gfp, unsigned int order)
{
	struct page *page;

	if (!(pinner_spare_beyond(PINNER_RESERVE_FILL, NULL) >> order))
		return NULL;
	page = alloc_pages_node(node, gfp | __GFP_THISNODE, order);
	if (page)
		set_page_private(page, order);
	return page;
}

/* Hold unmovable pages, up to a number of them: no contiguous area lends any to those */
static void pinner_cushion(int node, struct list_head *held,
			   unsigned long pages)
{
	unsigned int order = PINNER_CUSHION_ORDER;
	struct page *page;

	while (pages >> order) {
		page = pinner_get(node, COMPAT_GFP_UNMOVABLE, order);
		if (!page)
			return;
		list_add(&page->lru, held);
		pages -= 1UL << order;
	}
}

static void pinner_let_go(struct list_head *held)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, held, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		__free_pages(page, order);
	}
}

/*
 * Hold what is free elsewhere in blocks of an order, which is a lot quicker
 * than page by page. Blocks that lie in the range, in whole or in part, are free
 * again afterwards, for the next lower order.
 */
static int pinner_hold(const struct pinner_plan *plan, unsigned long first,
		       int node, unsigned int order,
		       struct list_head *elsewhere)
{
	LIST_HEAD(inside);
	struct page *page;
	int err = 0;

	while (!err && pinner_leaves(plan) &&
	       (page = pinner_get(node, COMPAT_GFP_ATTEMPT, order))) {
		unsigned long pfn = page_to_pfn(page);

		if (pfn + (1UL << order) > first && pfn < first + plan->room)
			list_add(&page->lru, &inside);
		else
			list_add(&page->lru, elsewhere);
		cond_resched();
		if (signal_pending(current))
			err = -EINTR;
	}
	pinner_let_go(&inside);
	return err;
}

/*
 * Give up some of the pages that are held, for others who need them meanwhile:
 * first unmovable ones, which the range's come before (mm/page_alloc.c:
 * __rmqueue()), and then what may well be taken again. False where none of the
 * range came since that was done last: no more do. That ends nothing where what
 * is free is not counted right.
 */
static bool pinner_relent(const struct pinner_plan *plan,
			  struct list_head *cushion,
			  struct list_head *elsewhere, unsigned long *came_by)
{
	if (pinner_leaves(plan))
		return true;
	if (list_empty(cushion)) {
		if (plan->count == *came_by)
			return !COMPAT_FREE_COUNTED;
		*came_by = plan->count;
	}
	do {
		struct list_head *held = list_empty(cushion) ? elsewhere :
							       cushion;
		LIST_HEAD(some);

		if (list_empty(held))
			break;
		list_move(held->prev, &some);
		pinner_let_go(&some);
	} while (!pinner_leaves(plan));
	return true;
}

/* Take pages until the range has no more or the reserve is all that is free */
static int pinner_plan_drain(struct pinner_plan *plan, unsigned long first,
			     int node, struct list_head *cushion,
			     struct list_head *elsewhere)
{
	unsigned long others = 0, came_by = ULONG_MAX;
	int err = 0;

	while (!err && plan->count < plan->room &&
	       pinner_spare_beyond(PINNER_RESERVE_FILL, NULL)) {
		struct page *page = alloc_pages_node(node, COMPAT_GFP_ATTEMPT |
						     __GFP_THISNODE, 0);

		if (!page)
			break;
		if (page_to_pfn(page) - first < plan->room) {
			plan->pages[plan->count++] = page;
		} else {
			list_add(&page->lru, elsewhere);
			others++;
		}
		if ((plan->count + others) % PINNER_BATCH == 0 &&
		    !pinner_relent(plan, cushion, elsewhere, &came_by))
			break;
		err = pinner_pause(plan->count + others);
	}
	return err;
}

/*
 * Take what is free in a range, through the page allocator, as every owner gets
 * its pages: those of other places are held until the range has no more. Other
 * nodes are left alone: who needs memory meanwhile finds it there, and not in
 * the range.
 *
 * No owner gets the pages below the watermarks, and some of those would be the
 * range's (khugepaged raises the lowest to a twentieth of a small memory).
 * Unmovable pages are held beforehand, and are what is left in the end.
 */
static int pinner_plan_range(struct pinner_plan *plan, unsigned long first,
			     unsigned long total)
{
	int err = 0, node = page_to_nid(pfn_to_page(first));
	unsigned int order;
	LIST_HEAD(elsewhere);
	LIST_HEAD(cushion);

	plan->others = min(total / PINNER_OTHERS_PART, PINNER_OTHERS_MOST);
	pinner_cushion(node, &cushion, total / PINNER_RESERVE_PART);
	for (order = COMPAT_MAX_ORDER; !err && order; order--)
		err = pinner_hold(plan, first, node, order, &elsewhere);
	if (!err)
		err = pinner_plan_drain(plan, first, node, &cushion,
					&elsewhere);
	pinner_let_go(&cushion);
	if (!err)
		err = pinner_plan_drain(plan, first, node, &cushion,
					&elsewhere);
	pinner_let_go(&elsewhere);
	pinner_plan_sort(plan);
	return err;
}

/* The end of the pages from @start on in the same window of @every frames */
static unsigned long pinner_window_end(const struct pinner_plan *plan,
				       unsigned long start)
{
	unsigned long window = page_to_pfn(plan->pages[start]) / plan->every;
	unsigned long i = start + 1;

	while (i < plan->count &&
	       page_to_pfn(plan->pages[i]) / plan->every == window)
		i++;
	return i;
}

/*
 * The page of a window that is kept. It depends on the seed and the frames, not
 * on which pages the allocator gave elsewhere: another boot gets the same.
 */
static unsigned long pinner_window_pick(const struct pinner_plan *plan, u64 seed,
					unsigned long start, unsigned long end)
{
	unsigned long window = page_to_pfn(plan->pages[start]) / plan->every;
	unsigned long at = window * plan->every +
		(u32)pinner_content_seed(seed, window) % plan->every;

	while (start + 1 < end && page_to_pfn(plan->pages[start]) < at)
		start++;
	return start;
}

/*
 * Of each window one page is kept. There are at least as many windows as
 * objects; those of which there is little come last, as one of their pages
 * keeps less of the memory in pieces.
 */
static void pinner_plan_pick(struct pinner_plan *plan, u64 seed, bool sparse)
{
	unsigned long start, end;

	for (start = 0; start < plan->count; start = end) {
		end = pinner_window_end(plan, start);
		if (plan->picked == plan->wanted)
			break;
		if ((end - start <= plan->every / 2) == sparse)
			plan->picks[plan->picked++] =
				pinner_window_pick(plan, seed, start, end);
	}
}

static int pinner_plan_store(struct pinner_plan *plan, u64 seed)
{
	int err;

	pinner_plan_pick(plan, seed, false);
	pinner_plan_pick(plan, seed, true);
	while (plan->stored < plan->picked) {
		struct pinner_object *obj = plan->objects[plan->stored];
		unsigned long at = plan->picks[plan->stored];

		/* One reference for the table, ours stays */
		kref_get(&obj->ref);
		err = pinner_object_store(obj, plan->pages[at], seed);
		if (err)
			return err;
		plan->pages[at] = NULL;
		err = pinner_pause(++plan->stored);
		if (err)
			return err;
	}
	return 0;
}

/* Free what isn't stored, and on an error what is. */
static void pinner_plan_end(struct pinner_plan *plan, int err)
{
	unsigned long i;

	for (i = 0; i < plan->count; i++) {
		if (plan->pages[i])
			__free_page(plan->pages[i]);
		pinner_pause(i);
	}
	for (i = 0; plan->objects && i < plan->wanted; i++) {
		if (!plan->objects[i])
			break;
		if (err && i < plan->stored)
			pinner_object_free(plan->objects[i]);
		pinner_object_put(plan->objects[i]);
		pinner_pause(i);
	}
	vfree(plan->picks);
	vfree(plan->objects);
	vfree(plan->pages);
}

/* Strew @pages objects over memory, one in each @every pages: all or none. */
int pinner_layout(u64 pages, u64 every, u64 seed)
{
	struct pinner_plan plan = {
		.wanted = pages, .every = every, .room = pages * every,
	};
	unsigned long total, start = jiffies;
	unsigned int ms;
	int err;

	/* Not a multiplication, which might overflow */
	pinner_spare(&total);
	if (!pages || !every || pages > total || every > total / plan.wanted)
		return -EINVAL;

	plan.spare = pinner_spare(NULL);
	err = plan.room > plan.spare ? -ENOMEM : pinner_plan_alloc(&plan);
	if (!err)
		err = pinner_plan_fill(&plan);
	if (!err)
		err = pinner_plan_store(&plan, seed);
	if (err)
		pr_err("layout: error %d with %lu of %lu pages, %lu of %lu objects; %lu pages to spare\n",
		       err, plan.count, plan.room, plan.stored,
		       plan.wanted, plan.spare);
	pinner_plan_end(&plan, err);

	ms = jiffies_to_msecs(jiffies - start);
	atomic_long_set(&pinner_counters.layout_ms, ms);
	if (!err)
		pr_info("layout pages=%lu every=%lu seed=%llu ms=%u\n",
			plan.wanted, plan.every, seed, ms);
	return err;
}

/*
 * Strew objects over what is free of a range of @count frames, one in each
 * @every of them. -ENOSPC: nothing of it is free; -EINVAL: there is no such memory.
 */
int pinner_fill_range(u64 first, u64 count, u64 every, u64 seed)
{
	struct pinner_plan plan = { .every = every, .room = count };
	unsigned long total;
	int err;

	pinner_spare(&total);
	if (!count || !every || count > total || every > count ||
	    first > ULONG_MAX - count || !compat_online_page(first))
		return -EINVAL;

	plan.wanted = count / every + 2;	/* windows, the ends' parts too */
	err = pinner_plan_alloc(&plan);
	if (!err)
		err = pinner_plan_range(&plan, first, total);
	if (!err)
		err = plan.count ? pinner_plan_store(&plan, seed) : -ENOSPC;
	pinner_plan_end(&plan, err);

	pr_info("fill first=0x%llx count=%llu every=%llu seed=%llu free=%lu stored=%lu error=%d\n",
		first, count, every, seed, plan.count, plan.stored, err);
	return err;
}

/*
 * How many blocks of an order can be had as things are? They are counted, and
 * freed again.
 */
int pinner_huge(u64 order, u64 max)
{
	struct page *page, *next;
	LIST_HEAD(blocks);
	unsigned long got = 0;
	int err = 0;

	if (order > COMPAT_MAX_ORDER)
		return -EINVAL;

	while (got < max && pinner_spare(NULL) >> order) {
		page = alloc_pages(COMPAT_GFP_ATTEMPT | __GFP_COMP, order);
		if (!page)
			break;
		list_add(&page->lru, &blocks);
		got++;
		err = pinner_pause(got);
		if (err)
			break;
	}
	list_for_each_entry_safe(page, next, &blocks, lru) {
		list_del(&page->lru);
		__free_pages(page, order);
	}
	if (err)
		return err;

	atomic_long_set(&pinner_counters.huge_order, order);
	atomic_long_set(&pinner_counters.huge_got, got);
	pr_info("huge order=%llu got=%lu\n", order, got);
	return 0;
}
