// SPDX-License-Identifier: GPL-2.0-only
/* Objects: stored, looked up by handle, checked, freed */
#define pr_fmt(fmt) "pinner: " fmt

#include <linux/idr.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "pinner.h"

/* Protects pinner_table; innermost, the callback takes it too */
static DEFINE_SPINLOCK(pinner_table_lock);
static DEFINE_IDR(pinner_table);
static int pinner_last;

struct pinner_object *pinner_object_alloc(void)
{
	struct pinner_object *obj = kzalloc(sizeof(*obj), GFP_KERNEL);

	if (!obj)
		return NULL;
	kref_init(&obj->ref);
	mutex_init(&obj->lock);
	return obj;
}

static void pinner_object_release(struct kref *ref)
{
	kfree(container_of(ref, struct pinner_object, ref));
}

void pinner_object_put(struct pinner_object *obj)
{
	kref_put(&obj->ref, pinner_object_release);
}

/* The table takes over the caller's reference. */
static int pinner_table_add(struct pinner_object *obj)
{
	int handle;

	idr_preload(GFP_KERNEL);
	spin_lock(&pinner_table_lock);
	handle = idr_alloc_cyclic(&pinner_table, obj, 1, 0, GFP_NOWAIT);
	if (handle > 0) {
		obj->handle = handle;
		pinner_last = handle;
	}
	spin_unlock(&pinner_table_lock);
	idr_preload_end();
	return handle > 0 ? 0 : handle;
}

static void pinner_table_del(struct pinner_object *obj)
{
	spin_lock(&pinner_table_lock);
	idr_remove(&pinner_table, obj->handle);
	spin_unlock(&pinner_table_lock);
}

/* The object of a handle, with a reference, or NULL */
struct pinner_object *pinner_object_find(int handle)
{
	struct pinner_object *obj;

	spin_lock(&pinner_table_lock);
	obj = idr_find(&pinner_table, handle);
	if (obj)
		kref_get(&obj->ref);
	spin_unlock(&pinner_table_lock);
	return obj;
}

/* The first object from a handle on, with a reference, or NULL */
struct pinner_object *pinner_object_next(int handle)
{
	struct pinner_object *obj;

	spin_lock(&pinner_table_lock);
	obj = idr_get_next(&pinner_table, &handle);
	if (obj)
		kref_get(&obj->ref);
	spin_unlock(&pinner_table_lock);
	return obj;
}

int pinner_last_handle(void)
{
	return READ_ONCE(pinner_last);
}

/*
 * Store contents in a page and pin it. On success the table has the caller's
 * reference on @obj, and @obj the one on @page; on failure the caller keeps
 * the page and @obj is gone.
 */
int pinner_object_store(struct pinner_object *obj, struct page *page, u64 seed)
{
	int err;

	/* The callback can find it in the table: it must not get in before */
	mutex_lock(&obj->lock);
	err = pinner_table_add(obj);
	if (err)
		goto out;

	obj->seed = pinner_content_seed(seed, obj->handle);
	obj->sum = pinner_fill(page, obj->seed);
	obj->pfn_pin = page_to_pfn(page);
	set_page_private(page, obj->handle);
	obj->index = obj->handle;
	*compat_index(page) = obj->index;
	err = pinner_pin(obj, page);
	if (err) {
		set_page_private(page, 0);
		pinner_table_del(obj);
		goto out;
	}
	obj->page = page;
	atomic_long_inc(&pinner_counters.pinned);
	atomic_long_inc(&pinner_counters.stored);
out:
	mutex_unlock(&obj->lock);
	if (err)
		pinner_object_put(obj);
	return err;
}

/* The page that the owner reads and writes */
static struct page *pinner_used_page(struct pinner_object *obj)
{
	return obj->kept ? obj->kept : obj->page;
}

/*
 * Has somebody else got our page? It may be free by now; a page that was
 * allocated again does not have our handle. This can't be told for certain
 * without a reference, and having one is what is in doubt.
 */
static bool pinner_page_lost(struct pinner_object *obj, struct page *page)
{
	return !page_count(page) || page_private(page) != obj->handle;
}

static void pinner_set_lost(struct pinner_object *obj, struct page *page,
			    const char *when)
{
	obj->state = PINNER_IS_LOST;
	atomic_long_inc(&pinner_counters.lost);
	pr_err_ratelimited("lost handle=%d pfn=0x%lx%s\n", obj->handle,
			   page_to_pfn(page), when);
}

static void pinner_set_corrupt(struct pinner_object *obj)
{
	obj->state = PINNER_IS_CORRUPT;
	atomic_long_inc(&pinner_counters.corrupt);
}

static void pinner_check_locked(struct pinner_object *obj)
{
	struct page *page = pinner_used_page(obj);
	unsigned int offset;

	atomic_long_inc(&pinner_counters.verified);
	if (obj->state != PINNER_IS_STORED)
		return;

	if (pinner_page_lost(obj, page)) {
		pinner_set_lost(obj, page, "");
	} else if (!obj->kept && *compat_index(page) != obj->index) {
		pinner_set_corrupt(obj);
		pr_err_ratelimited("corrupt handle=%d pfn=0x%lx index=0x%lx, not 0x%lx\n",
				   obj->handle, page_to_pfn(page),
				   *compat_index(page), obj->index);
	} else if (!pinner_whole(page, obj->seed, obj->sum, &offset)) {
		pinner_set_corrupt(obj);
		pr_err_ratelimited("corrupt handle=%d pfn=0x%lx offset=%u\n",
				   obj->handle, page_to_pfn(page), offset);
	}
}

/* Load an object: are its contents what was stored? */
enum pinner_state pinner_object_check(struct pinner_object *obj)
{
	enum pinner_state state;

	mutex_lock(&obj->lock);
	if (obj->page)
		pinner_check_locked(obj);
	state = obj->state;
	mutex_unlock(&obj->lock);
	return state;
}

/* Store other contents in the object's page. */
int pinner_object_rewrite(struct pinner_object *obj, u64 seed)
{
	int err = -ENOENT;

	mutex_lock(&obj->lock);
	if (obj->page && obj->state == PINNER_IS_STORED) {
		pinner_check_locked(obj);
		err = obj->state == PINNER_IS_STORED ? 0 : -EIO;
	}
	if (!err) {
		obj->seed = pinner_content_seed(seed, obj->handle);
		obj->sum = pinner_fill(pinner_used_page(obj), obj->seed);
	}
	mutex_unlock(&obj->lock);
	return err;
}

/* Give up the page that lie keep has gone on using, where it is still ours. */
static void pinner_put_kept(struct pinner_object *obj)
{
	if (!obj->kept || !COMPAT_PINPAGE_POSTED)
		return;
	pinner_unpin(obj->kept);
	set_page_private(obj->kept, 0);
	__free_page(obj->kept);
}

/* Lie leak: the first page that should be freed stays behind, one a load. */
static bool pinner_leaks(void)
{
	static atomic_t leaked = ATOMIC_INIT(0);

	if (pinner_lie != PINNER_LIES_LEAK || atomic_xchg(&leaked, 1))
		return false;
	atomic_long_inc(&pinner_counters.lied);
	return true;
}

/*
 * Free an object and its page; -ENOENT if that has been done, or another errno
 * if its page can't be taken from the subsystem: it is as before then.
 */
int pinner_object_free(struct pinner_object *obj)
{
	struct page *page;
	int err = -ENOENT;

	mutex_lock(&obj->lock);
	page = obj->page;
	if (!page)
		goto out;

	err = pinner_unpin(page);
	if (err)
		goto out;
	obj->page = NULL;
	pinner_put_kept(obj);
	if (pinner_page_lost(obj, page)) {
		/* Not ours any more: neither is a reference on it */
		if (obj->state == PINNER_IS_STORED)
			pinner_set_lost(obj, page, " when it was freed");
	} else {
		set_page_private(page, 0);
		/* An isolator may hold a reference: the last one frees it */
		if (!pinner_leaks())
			__free_page(page);
	}
	atomic_long_dec(&pinner_counters.pinned);
	atomic_long_inc(&pinner_counters.freed);
out:
	mutex_unlock(&obj->lock);
	if (!err) {
		pinner_table_del(obj);
		pinner_object_put(obj);
	}
	return err;
}

/* Its line in the ledger, as it is at one moment; false if it has no page */
bool pinner_object_row(struct pinner_object *obj, struct pinner_row *row)
{
	bool live;

	mutex_lock(&obj->lock);
	live = obj->page;
	if (live) {
		row->handle = obj->handle;
		row->pfn_pin = obj->pfn_pin;
		row->pfn_now = obj->claim ? obj->claim :
			       page_to_pfn(pinner_used_page(obj));
		row->refcount = page_count(obj->page);
		row->moves = obj->moves;
		row->refusal = READ_ONCE(obj->refusal);
		row->state = obj->state;
	}
	mutex_unlock(&obj->lock);
	return live;
}

static int pinner_store_one(u64 seed)
{
	struct pinner_object *obj = pinner_object_alloc();
	struct page *page;
	int err;

	if (!obj)
		return -ENOMEM;
	page = alloc_page(PINNER_GFP);
	if (!page) {
		pinner_object_put(obj);
		return -ENOMEM;
	}
	err = pinner_object_store(obj, page, seed);
	if (err)
		__free_page(page);
	return err;
}

int pinner_store(u64 count, u64 seed)
{
	u64 i;
	int err;

	for (i = 0; i < count; i++) {
		if (signal_pending(current))
			return -EINTR;
		err = pinner_store_one(seed);
		if (err) {
			pr_err_ratelimited("store: error %d after %llu of %llu\n",
					   err, i, count);
			return err;
		}
		cond_resched();
	}
	return 0;
}

int pinner_free(int handle)
{
	struct pinner_object *obj = pinner_object_find(handle);
	int err;

	if (!obj)
		return -ENOENT;
	err = pinner_object_free(obj);
	pinner_object_put(obj);
	return err;
}

/* Call @act for each object; the first error that isn't -ENOENT is the result. */
static int pinner_for_each(int (*act)(struct pinner_object *obj))
{
	struct pinner_object *obj;
	int err, result = 0, handle = 1;

	while ((obj = pinner_object_next(handle))) {
		handle = obj->handle + 1;
		err = act(obj);
		pinner_object_put(obj);
		if (err && err != -ENOENT && !result)
			result = err;
		if (err == -EINTR)
			break;
		cond_resched();
	}
	return result;
}

/* Not to be interrupted: unloading depends on it. */
int pinner_free_all(void)
{
	return pinner_for_each(pinner_object_free);
}

static int pinner_verify_one(struct pinner_object *obj)
{
	if (signal_pending(current))
		return -EINTR;
	pinner_object_check(obj);
	return 0;
}

int pinner_verify(void)
{
	int err = pinner_for_each(pinner_verify_one);

	pr_info("verified pinned=%ld corrupt=%ld lost=%ld\n",
		atomic_long_read(&pinner_counters.pinned),
		atomic_long_read(&pinner_counters.corrupt),
		atomic_long_read(&pinner_counters.lost));
	return err;
}

/* All of them have been freed; the table keeps some memory of its own. */
void pinner_objects_exit(void)
{
	idr_destroy(&pinner_table);
}
