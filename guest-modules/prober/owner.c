// SPDX-License-Identifier: GPL-2.0-only
/* Pages pinned as an owner would, and a callback with the manners asked for */
#define pr_fmt(fmt) "prober: " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "prober.h"

#if COMPAT_PINPAGE

#define PROBER_RANGE	1024	/* pages, the most that pageblocks are made of */
#define PROBER_RANGES	32	/* to be tried */
#define PROBER_SOON	64	/* calls: two batches of compaction */
#define PROBER_CROWD	16	/* isolated pages, of which half are locked */
#define PROBER_BLOCKS	32	/* of memory that the system gets back */
#define PROBER_BLOCK_ORDER	8

/* One page. The callback for a page is never called twice at a time. */
struct prober_slot {
	struct page *page;		/* NULL: given up */
	unsigned long pfn_old;		/* where it was before its last move */
	unsigned long pfn_refused;	/* where it was last refused to go */
	long busy;			/* the call that said -EAGAIN, 0: none */
	unsigned int moves;
	bool held;			/* by somebody else as well */
	bool locked;			/* by us */
	bool beside;			/* isolated with pages that we locked */
};

struct prober_manner prober_manner;

static struct prober_slot *prober_slots;
static unsigned long prober_count;
static bool prober_registered;
static unsigned long prober_tried;	/* ranges asked for */
static unsigned long prober_got;
static unsigned long prober_filled;	/* pages taken and never given back */

static atomic_long_t prober_calls;
static atomic_long_t prober_refused;
static atomic_long_t prober_busy;
static atomic_long_t prober_again;	/* asked again soon after that */
static atomic_long_t prober_moves;
static atomic_long_t prober_atomic;
static atomic_long_t prober_isolated;
static atomic_long_t prober_locked;
static atomic_long_t prober_deserted;
static atomic_long_t prober_repinned;	/* while they were isolated */
static atomic_long_t prober_swept;

/* page->private is the owner's: number of the slot, from 1 */
static struct prober_slot *prober_slot(struct page *page)
{
	unsigned long n = page_private(page);

	return n && n <= prober_count ? &prober_slots[n - 1] : NULL;
}

/* Is a slot's page another one than this, and in somebody else's hands as well? */
static bool prober_beside(struct prober_slot *slot, struct page *page)
{
	return slot->page && slot->page != page && page_count(slot->page) > 1;
}

/*
 * The first time that anybody asks, a whole batch is isolated, of which these
 * are ours: how many of the others are locked for as long?
 */
static void prober_look_round(struct page *page)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		if (!prober_beside(&prober_slots[i], page))
			continue;
		atomic_long_inc(&prober_isolated);
		if (PageLocked(prober_slots[i].page))
			atomic_long_inc(&prober_locked);
	}
}

/*
 * Once, lock every second of the pages that are isolated with this one, as
 * anybody may: who moves the others need not wait for them.
 */
static void prober_lock_others(struct page *page)
{
	unsigned long i, nth = 0, crowd = 0;

	for (i = 0; i < prober_count; i++)
		crowd += prober_beside(&prober_slots[i], page);
	if (crowd < PROBER_CROWD)
		return;
	prober_manner.locks = false;
	for (i = 0; i < prober_count; i++) {
		struct prober_slot *slot = &prober_slots[i];

		if (!prober_beside(slot, page))
			continue;
		if (nth++ % 2)
			slot->beside = true;
		else
			slot->locked = trylock_page(slot->page);
	}
}

static struct page *prober_moving;	/* whose callback waits for the work */

/*
 * Pin a page again that was just cleared, and is isolated: its list head is the
 * isolator's, and is given back where it was taken.
 */
static void prober_pin_again(struct page *page)
{
	struct list_head list = page->lru;

	if (set_pinpage(&prober_system, page, NULL))
		return;
	if (page_count(page) > 1) {
		atomic_long_inc(&prober_repinned);
		page->lru = list;
	}
	clear_pinpage(&prober_system, page);
}

/*
 * Put our references on what is isolated: it is the migration's alone then. As
 * posted such a page is locked by whoever isolated it, and can't be cleared.
 */
static void prober_desert(struct work_struct *work)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		struct prober_slot *slot = &prober_slots[i];
		struct page *other = slot->page;

		if (!other || other == prober_moving || page_count(other) != 2)
			continue;
		if (!COMPAT_PINPAGE_POSTED &&
		    (PageLocked(other) ||
		     clear_pinpage(&prober_system, other)))
			continue;
		if (!COMPAT_PINPAGE_POSTED)
			prober_pin_again(other);
		slot->page = NULL;
		slot->pfn_old = page_to_pfn(other);
		set_page_private(other, 0);
		put_page(other);
		atomic_long_inc(&prober_deserted);
	}
}

static DECLARE_WORK(prober_desert_work, prober_desert);

/* In another thread: a callback may not clear pages, others may at any time */
static void prober_desert_others(struct page *page)
{
	prober_moving = page;
	schedule_work(&prober_desert_work);
	flush_work(&prober_desert_work);
}

/*
 * Is an owner's page busy this time? One that was a moment ago is asked again
 * with the rest of the batch that it was isolated with, if at all.
 */
static bool prober_is_busy(struct prober_slot *slot, long nth)
{
	if (!prober_manner.busy || !slot)
		return false;
	if (slot->busy && nth - slot->busy <= PROBER_SOON)
		atomic_long_inc(&prober_again);
	slot->busy = 0;
	if ((u32)nth % (u32)prober_manner.busy)
		return false;
	slot->busy = nth;
	atomic_long_inc(&prober_busy);
	return true;
}

static int prober_migrate(struct pinpage_system *psys, struct page *page,
			  struct page *newpage)
{
	struct prober_slot *slot = prober_slot(page);
	long nth = atomic_long_inc_return(&prober_calls);
	int refusal = prober_manner.refusal;

	if (preempt_count() || irqs_disabled())
		atomic_long_inc(&prober_atomic);
	if (nth == 1)
		prober_look_round(page);
	if (prober_manner.locks)
		prober_lock_others(page);
	/* As posted, the callback may not sleep */
	if (prober_manner.deserts && COMPAT_PINPAGE_POSTED) {
		prober_moving = page;
		prober_desert(NULL);
	} else if (prober_manner.deserts) {
		prober_desert_others(page);
	}
	if (prober_manner.sleeps)
		usleep_range(50, 100);
	if (refusal && (u32)(nth - 1) % (u32)prober_manner.every == 0) {
		atomic_long_inc(&prober_refused);
		if (slot)
			slot->pfn_refused = page_to_pfn(newpage);
		return -refusal;
	}
	if (prober_is_busy(slot, nth))
		return -EAGAIN;
	if (!slot || slot->page != page) {
		atomic_long_inc(&prober_refused);
		return -EINVAL;
	}

	copy_highpage(newpage, page);
	set_page_private(newpage, page_private(page));
	set_page_private(page, 0);
	slot->page = newpage;
	slot->pfn_old = page_to_pfn(page);
	slot->moves++;
	atomic_long_inc(&prober_moves);
	if (COMPAT_PINPAGE_POSTED && !prober_manner.keeps)
		put_page(page);
	return 0;
}

static int prober_find_page(struct pinpage_system *psys, struct page *page)
{
	return prober_manner.denies ? 0 : general_find_page(psys, page);
}

struct pinpage_system prober_system = {
	.create_subsys = general_create_subsys,
	.destroy_subsys = general_destroy_subsys,
	.migrate = prober_migrate,
	.add_page = general_add_page,
	.del_page = general_del_page,
	.find_page = prober_find_page,
};

/* All of the pages, the ones between those that are kept included, or none */
static int prober_alloc(struct page **pages, unsigned long count)
{
	unsigned long i;

	for (i = 0; i < count; i++) {
		pages[i] = alloc_page(prober_manner.unmovable ? PROBER_FIXED :
				      PROBER_GFP);
		if (!pages[i])
			goto out;
		cond_resched();
	}
	return 0;
out:
	while (i--)
		__free_page(pages[i]);
	return -ENOMEM;
}

/*
 * As posted, the list head of a page is wanted empty, though its owner may not
 * use it: it is here, or nothing would ever be asked of us.
 */
static int prober_pin_one(struct page *page, unsigned long n)
{
	set_page_private(page, n + 1);
	if (COMPAT_PINPAGE_POSTED && !prober_manner.bare)
		INIT_LIST_HEAD(&page->lru);
	return set_pinpage(&prober_system, page, NULL);
}

static int prober_pin_all(struct page **pages, unsigned long every)
{
	unsigned long i, failed = 0;

	for (i = 0; i < prober_count * every; i++) {
		struct page *page = pages[i];
		unsigned long n = i / every;

		if (i % every) {
			__free_page(page);
			continue;
		}
		prober_slots[n].page = page;
		if (prober_pin_one(page, n)) {
			prober_slots[n].page = NULL;
			set_page_private(page, 0);
			__free_page(page);
			failed++;
		}
		cond_resched();
	}
	prober_result = failed;
	return 0;
}

/* Half of what is free: the system wants to go on */
static unsigned long prober_spare(void)
{
	struct sysinfo info;

	si_meminfo(&info);
	return info.freeram / 2;
}

int prober_pin(u64 count, u64 every)
{
	struct page **pages;
	int err;

	if (prober_slots || !count || !every || count > INT_MAX ||
	    every > INT_MAX || count * every > prober_spare())
		return -EINVAL;
	err = prober_registered ? 0 : register_pinpage(&prober_system);
	if (err)
		return err;
	prober_registered = true;

	pages = vzalloc(count * every * sizeof(*pages));
	prober_slots = vzalloc(count * sizeof(*prober_slots));
	err = -ENOMEM;
	if (pages && prober_slots)
		err = prober_alloc(pages, count * every);
	if (err) {
		vfree(prober_slots);
		prober_slots = NULL;
	} else {
		prober_count = count;
		err = prober_pin_all(pages, every);
	}
	vfree(pages);
	return err;
}

int prober_unpin(void)
{
	unsigned long i;

	prober_result = 0;
	for (i = 0; i < prober_count; i++) {
		if (prober_slots[i].page &&
		    clear_pinpage(&prober_system, prober_slots[i].page))
			prober_result++;
		cond_resched();
	}
	return 0;
}

/* Give every <nth> page frame back, which leaves holes of one page. */
int prober_thin(u64 nth)
{
	unsigned long i;

	if (!nth || nth > INT_MAX)
		return -EINVAL;
	prober_result = 0;
	for (i = 0; i < prober_count; i++) {
		struct page *page = prober_slots[i].page;

		if (!page || page_to_pfn(page) % (u32)nth)
			continue;
		if (clear_pinpage(&prober_system, page)) {
			prober_result++;
			continue;
		}
		prober_slots[i].page = NULL;
		set_page_private(page, 0);
		__free_page(page);
		cond_resched();
	}
	return 0;
}

static int prober_fill_to(u64 left)
{
	struct sysinfo info;

	for (;;) {
		unsigned int batch = 64;

		si_meminfo(&info);
		if (info.freeram <= left)
			return 0;
		while (batch--) {
			if (!alloc_page(PROBER_FIXED))
				return -ENOMEM;
			prober_filled++;
		}
		cond_resched();
	}
}

/*
 * Take pages that can't move, until no more than <left> are free; for good. The
 * system gets some large blocks back, or nothing could be started afterwards.
 */
int prober_fill(u64 left)
{
	struct page *blocks[PROBER_BLOCKS];
	unsigned int i, got;
	int err;

	for (got = 0; got < PROBER_BLOCKS; got++) {
		blocks[got] = alloc_pages(PROBER_FIXED, PROBER_BLOCK_ORDER);
		if (!blocks[got])
			break;
	}
	err = prober_fill_to(left);
	for (i = 0; i < got; i++)
		__free_pages(blocks[i], PROBER_BLOCK_ORDER);
	return err;
}

int prober_hold(void)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		if (prober_slots[i].page && !prober_slots[i].held) {
			get_page(prober_slots[i].page);
			prober_slots[i].held = true;
		}
	}
	return 0;
}

int prober_unlock(void)
{
	unsigned long i;

	prober_manner.locks = false; /* nobody would unlock them any more */
	for (i = 0; i < prober_count; i++) {
		if (prober_slots[i].locked) {
			prober_slots[i].locked = false;
			unlock_page(prober_slots[i].page);
		}
	}
	return 0;
}

static unsigned long prober_within(unsigned long start, unsigned long end)
{
	unsigned long i, found = 0;

	for (i = 0; i < prober_count; i++) {
		unsigned long pfn;

		if (!prober_slots[i].page)
			continue;
		pfn = page_to_pfn(prober_slots[i].page);
		found += pfn >= start && pfn < end;
	}
	return found;
}

/*
 * Ask for ranges that hold pages of ours and free pages, as CMA would. In some
 * of them is what nobody can move, so several are tried.
 */
int prober_contig(void)
{
	unsigned long i, start, end;

	if (!COMPAT_CONTIG)
		return -EOPNOTSUPP;
	prober_result = 0;
	for (i = 0; i < prober_count; i += prober_count / PROBER_RANGES + 1) {
		if (!prober_slots[i].page)
			continue;
		start = round_down(page_to_pfn(prober_slots[i].page),
				   PROBER_RANGE);
		end = start + PROBER_RANGE;
		if (!prober_within(start, end))
			continue;
		prober_tried++;
		prober_result = compat_contig(start, end);
		if (!prober_result)
			prober_got++;
		cond_resched();
	}
	return 0;
}

/* Clear what somebody has a reference of, and not yet the lock. */
static int prober_sweeps(void *data)
{
	unsigned long i;

	while (!kthread_should_stop()) {
		for (i = 0; i < prober_count; i++) {
			struct page *page = prober_slots[i].page;

			if (!page || page_count(page) != 2 ||
			    PageLocked(page) || !PagePin(page))
				continue;
			if (!clear_pinpage(&prober_system, page))
				atomic_long_inc(&prober_swept);
		}
		cond_resched();
	}
	return 0;
}

int prober_sweep(bool on)
{
	static struct task_struct *sweeper;
	struct task_struct *task;

	if (on == !!sweeper)
		return -EINVAL;
	if (!on) {
		kthread_stop(sweeper);
		sweeper = NULL;
		return 0;
	}
	task = kthread_run(prober_sweeps, NULL, "prober_sweep");
	if (IS_ERR(task))
		return PTR_ERR(task);
	sweeper = task;
	return 0;
}

static bool prober_owns(struct page *page)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		if (prober_slots[i].page == page)
			return true;
	}
	return false;
}

/* A page that was ours before it moved, and is nobody's of ours now; or NULL */
struct page *prober_left(void)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		struct page *old = pfn_to_page(prober_slots[i].pfn_old);

		if (prober_slots[i].page && prober_slots[i].moves &&
		    !page_count(old) && !prober_owns(old))
			return old;
	}
	return NULL;
}

void prober_owner_pages(struct seq_file *m)
{
	unsigned long i;

	for (i = 0; i < prober_count; i++) {
		if (prober_slots[i].page)
			seq_printf(m, "%lu\n", page_to_pfn(prober_slots[i].page));
	}
}

/* How many of our pages somebody else has a reference on, or the lock of */
static unsigned long prober_handled(void)
{
	unsigned long i, found = 0;

	for (i = 0; i < prober_count; i++) {
		struct prober_slot *slot = &prober_slots[i];

		if (slot->page && !slot->held && !slot->locked &&
		    (page_count(slot->page) > 1 || PageLocked(slot->page)))
			found++;
	}
	return found;
}

/* The same, but for those who are about to let go */
static unsigned long prober_stuck(void)
{
	unsigned long found = prober_handled();
	unsigned int i;

	for (i = 0; i < PROBER_LOOKS && found; i++) {
		msleep(20);
		found = prober_handled();
	}
	return found;
}

/* Registered pages that were offered to us, and that we did not take */
static unsigned long prober_declined(void)
{
	unsigned long i, found = 0;

	for (i = 0; i < prober_count; i++) {
		unsigned long pfn = prober_slots[i].pfn_refused;

		if (pfn && general_find_page(&prober_system, pfn_to_page(pfn)) &&
		    !prober_owns(pfn_to_page(pfn)))
			found++;
	}
	return found;
}

void prober_owner_facts(struct seq_file *m)
{
	unsigned long i, owned = 0, moved = 0, flagged = 0, known = 0;
	unsigned long stale = 0, held = 0, alive = 0, listed = 0, bare = 0;
	unsigned long beside = 0, passed = 0;
	unsigned int most = 0;

	for (i = 0; i < prober_count; i++) {
		struct prober_slot *slot = &prober_slots[i];

		if (!slot->page) {
			alive += slot->pfn_old &&
				 page_count(pfn_to_page(slot->pfn_old));
			continue;
		}
		owned++;
		beside += slot->beside;
		passed += slot->beside && slot->moves;
		listed += PageLRU(slot->page) ? 1 : 0;
		most = max(most, slot->moves);
		if (!slot->moves) {
			bare += PagePin(slot->page) ? 0 : 1;
			continue;
		}
		moved++;
		held += slot->held;
		flagged += PagePin(slot->page) ? 1 : 0;
		known += general_find_page(&prober_system, slot->page) ? 1 : 0;
		stale += general_find_page(&prober_system,
					   pfn_to_page(slot->pfn_old)) ? 1 : 0;
	}
	seq_printf(m, "pages %lu\n", owned);
	seq_printf(m, "pages_lru %lu\n", listed);
	seq_printf(m, "pages_unflagged %lu\n", bare);
	seq_printf(m, "moved %lu\n", moved);
	seq_printf(m, "moved_held %lu\n", held);
	seq_printf(m, "moved_flagged %lu\n", flagged);
	seq_printf(m, "moved_registered %lu\n", known);
	seq_printf(m, "old_registered %lu\n", stale);
	seq_printf(m, "most_moves %u\n", most);
	seq_printf(m, "calls %ld\n", atomic_long_read(&prober_calls));
	seq_printf(m, "refused %ld\n", atomic_long_read(&prober_refused));
	seq_printf(m, "busy %ld\n", atomic_long_read(&prober_busy));
	seq_printf(m, "busy_again %ld\n", atomic_long_read(&prober_again));
	seq_printf(m, "stuck %lu\n", prober_stuck());
	seq_printf(m, "declined_registered %lu\n", prober_declined());
	seq_printf(m, "moves %ld\n", atomic_long_read(&prober_moves));
	seq_printf(m, "calls_atomic %ld\n", atomic_long_read(&prober_atomic));
	seq_printf(m, "isolated_others %ld\n",
		   atomic_long_read(&prober_isolated));
	seq_printf(m, "isolated_locked %ld\n", atomic_long_read(&prober_locked));
	seq_printf(m, "swept %ld\n", atomic_long_read(&prober_swept));
	seq_printf(m, "filled %lu\n", prober_filled);
	seq_printf(m, "contig_tried %lu\n", prober_tried);
	seq_printf(m, "contig_got %lu\n", prober_got);
	seq_printf(m, "deserted %ld\n", atomic_long_read(&prober_deserted));
	seq_printf(m, "deserted_alive %lu\n", alive);
	seq_printf(m, "beside_locked %lu\n", beside);
	seq_printf(m, "beside_moved %lu\n", passed);
	seq_printf(m, "repinned %ld\n", atomic_long_read(&prober_repinned));
}

#endif
