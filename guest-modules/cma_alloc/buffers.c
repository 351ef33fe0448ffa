// SPDX-License-Identifier: GPL-2.0-only
/* Buffers, and the record of the attempts at them: a ring, the oldest go first */
#define pr_fmt(fmt) "cma_alloc: " fmt

#include <linux/atomic.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

#include "cma_alloc.h"
#include "../compat_cma.h"

#define CMA_ALLOC_OURS	0x636d61UL	/* in page->private */

struct cma_alloc_kept {
	struct list_head list;
	struct cma_alloc_buffer buffer;
};

/* Protects the list of buffers that are kept */
static DEFINE_MUTEX(cma_alloc_kept_lock);
static LIST_HEAD(cma_alloc_list);
static unsigned int cma_alloc_count;

/* Protects the ring and its end */
static DEFINE_SPINLOCK(cma_alloc_ring_lock);
static struct cma_alloc_result *cma_alloc_ring;
static u64 cma_alloc_end;	/* number of attempts so far */

int cma_alloc_buffers_init(void)
{
	int err;

	BUILD_BUG_ON(CMA_ALLOC_RESULTS_MAX & (CMA_ALLOC_RESULTS_MAX - 1));
	cma_alloc_ring = vzalloc(CMA_ALLOC_RESULTS_MAX *
				 sizeof(*cma_alloc_ring));
	if (!cma_alloc_ring)
		return -ENOMEM;
	err = compat_cma_init();
	if (err)
		vfree(cma_alloc_ring);
	return err;
}

void cma_alloc_buffers_exit(void)
{
	cma_alloc_free_all();
	compat_cma_exit();
	vfree(cma_alloc_ring);
}

static u64 cma_alloc_oldest(void)
{
	if (cma_alloc_end < CMA_ALLOC_RESULTS_MAX)
		return 0;
	return cma_alloc_end - CMA_ALLOC_RESULTS_MAX;
}

static struct cma_alloc_result *cma_alloc_slot(u64 seq)
{
	return &cma_alloc_ring[seq & (CMA_ALLOC_RESULTS_MAX - 1)];
}

static void cma_alloc_note(const struct cma_alloc_result *result)
{
	spin_lock(&cma_alloc_ring_lock);
	*cma_alloc_slot(cma_alloc_end) = *result;
	cma_alloc_end++;
	spin_unlock(&cma_alloc_ring_lock);
}

/* The attempts on record at this moment: @first to @end - 1 */
void cma_alloc_range(u64 *first, u64 *end)
{
	spin_lock(&cma_alloc_ring_lock);
	*first = cma_alloc_oldest();
	*end = cma_alloc_end;
	spin_unlock(&cma_alloc_ring_lock);
}

/* One attempt; false if it is no longer on record */
bool cma_alloc_get(u64 seq, struct cma_alloc_result *result)
{
	bool found;

	spin_lock(&cma_alloc_ring_lock);
	found = seq >= cma_alloc_oldest() && seq < cma_alloc_end;
	if (found)
		*result = *cma_alloc_slot(seq);
	spin_unlock(&cma_alloc_ring_lock);
	return found;
}

/*
 * Say of each page that it is in one of our buffers, and give back whether one
 * of them was in another already: the kernel has given it to two of us.
 */
static bool cma_alloc_claim(unsigned long pfn, unsigned int pages)
{
	bool twice = false;
	unsigned int i;

	for (i = 0; i < pages; i++) {
		struct page *page = pfn_to_page(pfn + i);

		if (xchg(&page->private, CMA_ALLOC_OURS) == CMA_ALLOC_OURS)
			twice = true;
	}
	return twice;
}

static void cma_alloc_disclaim(unsigned long pfn, unsigned int pages)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		set_page_private(pfn_to_page(pfn + i), 0);
}

/*
 * Try to get a buffer, and note what came of it. One with a page that another
 * buffer has is not had, and not given back either: it is somebody else's.
 */
int cma_alloc_try(unsigned int thread, unsigned int pages, unsigned int align,
		  struct cma_alloc_buffer *buffer)
{
	struct cma_alloc_result result = {
		.pages = pages, .align = align, .thread = thread,
	};
	ktime_t start = ktime_get();

	result.err = compat_cma_alloc(buffer, pages, align);
	result.ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	if (!result.err) {
		result.pfn = compat_cma_pfn(buffer);
		if (cma_alloc_claim(result.pfn, pages))
			result.err = -EEXIST;
	}
	cma_alloc_note(&result);
	return result.err;
}

void cma_alloc_put(struct cma_alloc_buffer *buffer)
{
	cma_alloc_disclaim(compat_cma_pfn(buffer), buffer->pages);
	compat_cma_free(buffer);
}

bool cma_alloc_align_follows(void)
{
	return COMPAT_CMA_ALIGN_FOLLOWS;
}

/* One buffer, which is kept if it can be had. */
int cma_alloc_keep(u64 pages, u64 align)
{
	struct cma_alloc_kept *kept;

	if (!pages || pages > INT_MAX >> PAGE_SHIFT || align > BITS_PER_LONG)
		return -EINVAL;
	kept = kzalloc(sizeof(*kept), GFP_KERNEL);
	if (!kept)
		return -ENOMEM;
	if (cma_alloc_try(0, pages, align, &kept->buffer)) {
		kfree(kept);
		return 0;
	}
	mutex_lock(&cma_alloc_kept_lock);
	list_add(&kept->list, &cma_alloc_list);
	cma_alloc_count++;
	mutex_unlock(&cma_alloc_kept_lock);
	return 0;
}

int cma_alloc_free_all(void)
{
	struct cma_alloc_kept *kept, *next;

	mutex_lock(&cma_alloc_kept_lock);
	list_for_each_entry_safe(kept, next, &cma_alloc_list, list) {
		list_del(&kept->list);
		cma_alloc_put(&kept->buffer);
		kfree(kept);
	}
	cma_alloc_count = 0;
	mutex_unlock(&cma_alloc_kept_lock);
	return 0;
}

unsigned int cma_alloc_kept(void)
{
	return READ_ONCE(cma_alloc_count);
}
