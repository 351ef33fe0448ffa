// SPDX-License-Identifier: GPL-2.0-only
/* The pin page subsystem: registering with it, and moving when it asks */
#define pr_fmt(fmt) "pinner: " fmt

#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/pagemap.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "pinner.h"

static bool pinner_uses_pinpage;
static bool pinner_inits_lru;
static bool pinner_gives_private;
static unsigned int pinner_lingers;	/* microseconds */

/* The object that was asked to move last, 0: none; of use to those who race */
atomic_t pinner_in_hand = ATOMIC_INIT(0);

/* Which objects refuse to move; the lock also covers the counts of objects */
static DEFINE_SPINLOCK(pinner_refusal_lock);
static struct {
	unsigned int turn;	/* of the command: counts begin anew with each */
	unsigned int times;
	unsigned int every;
	int err;
} pinner_refusal;

/* Have one object of each @every refuse to move, @times times each. */
int pinner_refuse(u64 errno, u64 times, u64 every)
{
	if (!errno || errno > MAX_ERRNO || times > UINT_MAX || !every ||
	    every > UINT_MAX)
		return -EINVAL;

	spin_lock(&pinner_refusal_lock);
	pinner_refusal.turn++;
	pinner_refusal.times = times;
	pinner_refusal.every = every;
	pinner_refusal.err = -(int)errno;
	spin_unlock(&pinner_refusal_lock);
	return 0;
}

void pinner_use_pinpage(bool init_lru, bool private, unsigned int linger)
{
	pinner_uses_pinpage = true;
	pinner_inits_lru = init_lru;
	pinner_gives_private = private;
	pinner_lingers = linger;
}

#if COMPAT_PINPAGE

#define PINNER_UNPIN_TRIES	1000
#define PINNER_GHOSTS		64
#define PINNER_GENERATION	BIT(32)	/* of page->index, with each move */

static void pinner_note_moved(struct pinner_object *obj,
			      unsigned long from, unsigned long to)
{
	struct pinner_move move = {
		.pfn_old = from, .pfn_new = to, .handle = obj->handle,
	};

	obj->moves++;
	atomic_long_inc(&pinner_counters.migrated);
	pinner_moves_add(&move);
	pr_info_ratelimited("migrated handle=%d pfn=0x%lx->0x%lx moves=%u\n",
			    obj->handle, from, to, obj->moves);
}

static void pinner_note_refused(struct pinner_object *obj, int err,
				unsigned long from, unsigned long to)
{
	struct pinner_move move = {
		.pfn_old = from, .pfn_new = to, .err = err,
		.handle = obj ? obj->handle : 0,
	};

	if (obj)
		WRITE_ONCE(obj->refusal, err);
	atomic_long_inc(&pinner_counters.refused);
	pinner_moves_add(&move);
	pr_info_ratelimited("refused handle=%d pfn=0x%lx err=%d\n",
			    move.handle, from, err);
}

/*
 * Lie ghost: note a move of an object that nobody has asked to move. It takes
 * the last ones, which the lowest-first order of compaction is the last to ask,
 * and the first ones, for whoever begins at the other end.
 */
static void pinner_ghost(void)
{
	static atomic_t told = ATOMIC_INIT(0);
	struct pinner_object *obj;
	unsigned long pfn;
	int nth = atomic_inc_return(&told);

	if (nth > PINNER_GHOSTS)
		return;
	obj = pinner_object_find(nth & 1 ? pinner_last_handle() - nth / 2 :
					   nth / 2);
	if (!obj)
		return;
	if (mutex_trylock(&obj->lock)) {
		if (obj->page && !obj->moves) {
			pfn = page_to_pfn(obj->page);
			obj->claim = pfn ^ 1;
			atomic_long_inc(&pinner_counters.lied);
			pinner_note_moved(obj, pfn, obj->claim);
		}
		mutex_unlock(&obj->lock);
	}
	pinner_object_put(obj);
}

/* What an object answers this time by the command refuse: 0, or an error */
static int pinner_refuses(struct pinner_object *obj)
{
	int err = 0;

	spin_lock(&pinner_refusal_lock);
	if (obj->turn != pinner_refusal.turn) {
		obj->turn = pinner_refusal.turn;
		obj->refused = 0;
	}
	if (obj->refused < pinner_refusal.times &&
	    obj->handle % pinner_refusal.every == 0) {
		obj->refused++;
		err = pinner_refusal.err;
	}
	spin_unlock(&pinner_refusal_lock);
	return err;
}

/* With obj->lock held */
static int pinner_move(struct pinpage_system *psys, struct pinner_object *obj,
		       struct page *page, struct page *newpage)
{
	bool keep = pinner_lie == PINNER_LIES_KEEP;
	int err;

	if (obj->page != page)
		return -EINVAL;
	err = pinner_refuses(obj);
	if (err)
		return err;
	/* What we gave to set_pinpage() has to come along with each move */
	if (pinner_gives_private && !(compat_private_is(psys, page, obj) &&
				      compat_private_is(psys, newpage, obj)))
		return -EINVAL;

	if (pinner_lie != PINNER_LIES_NOCOPY)
		copy_highpage(newpage, page);
	else
		atomic_long_inc(&pinner_counters.lied);
	set_page_private(newpage, obj->handle);
	obj->index += PINNER_GENERATION;
	*compat_index(newpage) = obj->index;
	*compat_index(page) = 0;
	obj->page = newpage;
	obj->claim = 0;
	if (keep && !obj->kept) {
		/* Lie: whatever becomes of it, it is read and written on */
		obj->kept = page;
		atomic_long_inc(&pinner_counters.lied);
	} else {
		set_page_private(page, 0);
		if (COMPAT_PINPAGE_POSTED)
			put_page(page);
	}
	pinner_note_moved(obj, page_to_pfn(page), page_to_pfn(newpage));
	return 0;
}

/* Maybe under a spinlock: others get the time to do what they should not */
static void pinner_linger(struct pinner_object *obj)
{
	if (!pinner_lingers)
		return;
	atomic_set(&pinner_in_hand, obj->handle);
	udelay(pinner_lingers);
}

/*
 * The callback. Called with both pages locked, maybe under a spinlock, and
 * maybe while the owner of obj->lock waits for the page lock: so try only.
 */
static int pinner_migrate(struct pinpage_system *psys, struct page *page,
			  struct page *newpage)
{
	struct pinner_object *obj = pinner_object_find(page_private(page));
	int err = -EINVAL;

	atomic_long_inc(&pinner_counters.callbacks);
	/* An owner may allocate here, with other pages of the batch locked */
	WARN_ONCE(!COMPAT_PINPAGE_POSTED && !(current->flags & PF_MEMALLOC_NOIO),
		  "asked to move a page where reclaim may wait for I/O\n");
	if (obj) {
		err = -EAGAIN;
		pinner_linger(obj);
		if (mutex_trylock(&obj->lock)) {
			err = pinner_move(psys, obj, page, newpage);
			mutex_unlock(&obj->lock);
		}
	}
	if (err)
		pinner_note_refused(obj, err, page_to_pfn(page),
				    page_to_pfn(newpage));
	if (obj)
		pinner_object_put(obj);
	if (pinner_lie == PINNER_LIES_GHOST)
		pinner_ghost();
	return err;
}

static struct pinpage_system pinner_system = {
	.create_subsys = general_create_subsys,
	.destroy_subsys = general_destroy_subsys,
	.migrate = pinner_migrate,
	.add_page = general_add_page,
	.del_page = general_del_page,
	.find_page = general_find_page,
};

int pinner_register(void)
{
	if (!pinner_uses_pinpage)
		return 0;
	return register_pinpage(&pinner_system);
}

/*
 * The module's code goes when this returns. Nothing can be done about pages
 * that the subsystem doesn't let go of, but not to go.
 */
void pinner_unregister(void)
{
	int err;

	if (!pinner_uses_pinpage)
		return;
	while ((err = unregister_pinpage(&pinner_system)) == -EBUSY) {
		WARN_ONCE(1, "the subsystem holds on to pages that were cleared\n");
		pinner_free_all();
		schedule_timeout_uninterruptible(HZ / 10);
	}
	if (err)
		pr_err("unregister_pinpage: error %d\n", err);
}

int pinner_pin(struct pinner_object *obj, struct page *page)
{
	if (!pinner_uses_pinpage)
		return 0;
	if (pinner_inits_lru)
		INIT_LIST_HEAD(&page->lru);
	return set_pinpage(&pinner_system, page,
			   pinner_gives_private ? obj : NULL);
}

/* With the object's lock held, so that the page can't become another one */
int pinner_unpin(struct page *page)
{
	int err, tries;

	if (!pinner_uses_pinpage)
		return 0;

	for (tries = 0; tries < PINNER_UNPIN_TRIES; tries++) {
		err = clear_pinpage(&pinner_system, page);
		if (err != -EINVAL && err != -EAGAIN)
			return err;
		/* As posted, a page that has moved isn't registered any more */
		if (COMPAT_PINPAGE_POSTED || !page_count(page))
			break;
		/* The move that gave us this page may not be over: wait */
		lock_page(page);
		unlock_page(page);
		cond_resched();
	}
	return COMPAT_PINPAGE_POSTED && err == -EINVAL ? 0 : err;
}

static int pinner_visitor_migrate(struct pinpage_system *psys,
				  struct page *page, struct page *newpage)
{
	return -EBUSY;
}

static const struct pinpage_system pinner_visitor = {
	.create_subsys = general_create_subsys,
	.destroy_subsys = general_destroy_subsys,
	.migrate = pinner_visitor_migrate,
	.add_page = general_add_page,
	.del_page = general_del_page,
	.find_page = general_find_page,
};

/* The page of a visitor is pinned and cleared; an error if it stays pinned */
static int pinner_visit_page(struct pinpage_system *psys, struct page *page)
{
	int err;

	if (pinner_inits_lru)
		INIT_LIST_HEAD(&page->lru);
	err = set_pinpage(psys, page, NULL);
	if (err)
		return 0;
	return clear_pinpage(psys, page);
}

/*
 * A system of its own comes, pins a page, and goes, while others do the same.
 * What the subsystem does not let go of is left to it.
 */
int pinner_visit(void)
{
	struct pinpage_system *psys;
	struct page *page;
	int err = -ENOMEM;

	if (!pinner_uses_pinpage)
		return 0;
	psys = kmemdup(&pinner_visitor, sizeof(*psys), GFP_KERNEL);
	page = alloc_page(PINNER_GFP);
	if (psys && page)
		err = register_pinpage(psys);
	if (err)
		goto out;

	err = pinner_visit_page(psys, page);
	if (!err)
		err = unregister_pinpage(psys);
	if (err) {
		pr_err_ratelimited("a visitor could not leave: error %d\n",
				   err);
		return err;
	}
	atomic_long_inc(&pinner_counters.visits);
out:
	if (page)
		__free_page(page);
	kfree(psys);
	return err;
}

#else /* !COMPAT_PINPAGE */

int pinner_register(void)
{
	if (!pinner_uses_pinpage)
		return 0;
	pr_err("mode=pinpage: this kernel has no pin page subsystem\n");
	return -EOPNOTSUPP;
}

void pinner_unregister(void)
{
}

int pinner_pin(struct pinner_object *obj, struct page *page)
{
	return 0;
}

int pinner_unpin(struct page *page)
{
	return 0;
}

int pinner_visit(void)
{
	return 0;
}

#endif
