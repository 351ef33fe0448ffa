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
#define PINNER_BATCH		256	/* pages between two looks up */

struct pinner_plan {
	struct page **pages;		/* NULL where it is stored */
	struct pinner_object **objects;	/* a reference on each */
	unsigned long wanted;		/* objects */
	unsigned long every;
	unsigned long count;		/* pages allocated */
	unsigned long stored;		/* objects in the table */
	unsigned long spare;		/* pages that could be taken */
};

/* Pages free beyond what is left to the others; @total: all of the memory's */
static unsigned long pinner_spare(unsigned long *total)
{
	unsigned long reserve;
	struct sysinfo info;

	si_meminfo(&info);
	reserve = info.totalram / PINNER_RESERVE_PART;
	if (total)
		*total = info.totalram;
	return info.freeram > reserve ? info.freeram - reserve : 0;
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

	plan->spare = pinner_spare(NULL);
	if (plan->wanted * plan->every > plan->spare)
		return -ENOMEM;

	plan->pages = vzalloc(plan->wanted * plan->every * sizeof(*plan->pages));
	plan->objects = vzalloc(plan->wanted * sizeof(*plan->objects));
	if (!plan->pages || !plan->objects)
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

static int pinner_plan_fill(struct pinner_plan *plan)
{
	unsigned long wanted = plan->wanted * plan->every;
	int err;

	while (plan->count < wanted) {
		struct page *page = alloc_page(PINNER_GFP_ATTEMPT);

		if (!page)
			return -ENOMEM;
		plan->pages[plan->count++] = page;
		err = pinner_pause(plan->count);
		if (err)
			return err;
	}
	sort(plan->pages, plan->count, sizeof(*plan->pages), pinner_by_pfn,
	     NULL);
	return 0;
}

/* Of each @every pages, the neighbours in memory, one becomes an object. */
static int pinner_plan_store(struct pinner_plan *plan, u64 seed)
{
	u64 state = seed;
	int err;

	while (plan->stored < plan->wanted) {
		struct pinner_object *obj = plan->objects[plan->stored];
		unsigned long at = plan->stored * plan->every +
			(u32)(pinner_random(&state) >> 32) % plan->every;

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
	vfree(plan->objects);
	vfree(plan->pages);
}

/* Strew @pages objects over memory, one in each @every pages: all or none. */
int pinner_layout(u64 pages, u64 every, u64 seed)
{
	struct pinner_plan plan = { .wanted = pages, .every = every };
	unsigned long total, start = jiffies;
	unsigned int ms;
	int err;

	/* Not a multiplication, which might overflow */
	pinner_spare(&total);
	if (!pages || !every || pages > total || every > total / plan.wanted)
		return -EINVAL;

	err = pinner_plan_alloc(&plan);
	if (!err)
		err = pinner_plan_fill(&plan);
	if (!err)
		err = pinner_plan_store(&plan, seed);
	if (err)
		pr_err("layout: error %d with %lu of %lu pages, %lu of %lu objects; %lu pages to spare\n",
		       err, plan.count, plan.wanted * plan.every, plan.stored,
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
 * How many blocks of an order can be had as things are? They are counted, and
 * freed again.
 */
int pinner_huge(u64 order, u64 max)
{
	struct page *page, *next;
	LIST_HEAD(blocks);
	unsigned long got = 0;
	int err = 0;

	if (order > PINNER_MAX_ORDER)
		return -EINVAL;

	while (got < max && pinner_spare(NULL) >> order) {
		page = alloc_pages(PINNER_GFP_ATTEMPT | __GFP_COMP, order);
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
