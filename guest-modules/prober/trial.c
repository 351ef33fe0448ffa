// SPDX-License-Identifier: GPL-2.0-only
/* What an owner may do once, and what the subsystem answers */
#define pr_fmt(fmt) "prober: " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/pagemap.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

#include "prober.h"

#if COMPAT_PINPAGE

#define PROBER_PRIVATE	((void *)0x5a5a5a5a5a5a5a5aUL)
#define PROBER_BATCH	4096		/* pairs between two waits for RCU */

static bool prober_listed;		/* in create_subsys, before it is done */
static bool prober_failed_listed;	/* after it has failed */
static bool prober_half_set;
static bool prober_half_cleared;
static bool prober_lru_late;
static int prober_refs_left;
static bool prober_reclaim_waited;
static int prober_killed;		/* what one is told who is being killed */
static bool prober_stale_waited;

static int prober_create(struct pinpage_system *psys)
{
	prober_listed = psys->list.next && !list_empty(&psys->list);
	return general_create_subsys(psys);
}

static int prober_create_fails(struct pinpage_system *psys)
{
	general_create_subsys(psys);
	return -ENOMEM;
}

/* The callback of systems whose pages stay */
int prober_never(struct pinpage_system *psys, struct page *page,
		 struct page *newpage)
{
	return -EBUSY;
}

static struct pinpage_system prober_other = {
	.create_subsys = prober_create,
	.destroy_subsys = general_destroy_subsys,
	.migrate = prober_never,
	.add_page = general_add_page,
	.del_page = general_del_page,
	.find_page = general_find_page,
};

static struct pinpage_system prober_broken = {
	.create_subsys = prober_create_fails,
	.destroy_subsys = general_destroy_subsys,
	.migrate = prober_never,
	.add_page = general_add_page,
	.del_page = general_del_page,
	.find_page = general_find_page,
};

/* The second system, registered by the first trial that needs it */
static int prober_system_two(struct pinpage_system **psys)
{
	static bool done;
	int err = done ? 0 : register_pinpage(&prober_other);

	done = true;
	*psys = &prober_other;
	return err;
}

static struct page *prober_page(unsigned int order)
{
	return alloc_pages(PROBER_GFP | (order ? __GFP_COMP : 0), order);
}

int prober_private(u64 count)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);

	prober_result = 0;
	while (!err && count--) {
		struct page *page = prober_page(0);

		if (!page)
			return -ENOMEM;
		if (set_pinpage(psys, page, PROBER_PRIVATE))
			prober_result++;
		cond_resched();
	}
	return err;
}

/* How many of the pairs went wrong */
int prober_cycle(u64 count)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);
	struct page *page;

	if (err)
		return err;
	page = prober_page(0);
	if (!page)
		return -ENOMEM;
	prober_result = 0;
	while (count--) {
		if (set_pinpage(psys, page, NULL) || clear_pinpage(psys, page))
			prober_result++;
		cond_resched();
		/* Nodes of the tree are freed by RCU, later than they are made */
		if (count % PROBER_BATCH == 0)
			rcu_barrier();
	}
	__free_page(page);
	return 0;
}

/* How many of the further ones were taken */
int prober_repeat(u64 count)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);
	struct page *page;

	if (err)
		return err;
	page = prober_page(0);
	if (!page)
		return -ENOMEM;
	err = set_pinpage(psys, page, NULL);
	if (err)
		return err;
	prober_result = 0;
	while (count--) {
		if (set_pinpage(psys, page, NULL) != -EEXIST)
			prober_result++;
		cond_resched();
	}
	return 0;
}

/* Two owners of one page */
int prober_nest(void)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);
	struct page *page;

	if (err)
		return err;
	page = prober_page(0);
	if (!page)
		return -ENOMEM;
	err = set_pinpage(psys, page, NULL);
	if (err)
		return err;
	prober_result = set_pinpage(&prober_system, page, NULL);
	if (PageLocked(page)) /* nobody else knows of it: a refusal keeps no lock */
		prober_result = -EDEADLK;
	return 0;
}

int prober_compound(void)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);
	struct page *page;

	if (err)
		return err;
	page = prober_page(1);
	if (!page)
		return -ENOMEM;
	prober_result = set_pinpage(psys, page, NULL);
	return 0;
}

/* The owner goes, its pages stay */
int prober_gone(void)
{
	prober_result = unregister_pinpage(&prober_system);
	return 0;
}

int prober_fails(void)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);

	if (err)
		return err;
	prober_result = register_pinpage(&prober_broken);
	prober_failed_listed = prober_broken.list.next &&
			       !list_empty(&prober_broken.list);
	return 0;
}

int prober_freed(void)
{
	struct pinpage_system *psys;
	int err = prober_system_two(&psys);
	struct page *page;

	if (err)
		return err;
	page = prober_page(0);
	if (!page)
		return -ENOMEM;
	err = set_pinpage(psys, page, NULL);
	if (err)
		return err;
	prober_result = PagePin(page) ? 1 : 0;
	__free_page(page);
	return 0;
}

/* What another thread does to a page while we have its lock */
struct prober_task {
	struct pinpage_system *psys;
	struct page *page;
	struct completion done;
	int result;
};

static int prober_sets(void *data)
{
	struct prober_task *task = data;

	task->result = set_pinpage(task->psys, task->page, NULL);
	complete(&task->done);
	return 0;
}

static int prober_clears(void *data)
{
	struct prober_task *task = data;

	task->result = clear_pinpage(task->psys, task->page);
	complete(&task->done);
	return 0;
}

/* As a shrinker would that runs within an allocation */
static int prober_reclaims(void *data)
{
	int ret;

	current->flags |= PF_MEMALLOC;
	ret = prober_clears(data);
	current->flags &= ~PF_MEMALLOC;
	return ret;
}

/* As what a task frees on its way out that the OOM killer has chosen */
static int prober_dies(void *data)
{
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	return prober_clears(data);
}

/* Is the flag ever unlike the registration, as long as we have the lock? */
static bool prober_is_half(struct prober_task *task)
{
	int i;

	for (i = 0; i < PROBER_LOOKS; i++) {
		bool known = general_find_page(task->psys, task->page);

		if (known != !!PagePin(task->page))
			return true;
		if (completion_done(&task->done))
			break;
		msleep(20);
	}
	return false;
}

static int prober_under_lock(struct prober_task *task, int (*act)(void *data),
			     bool *half)
{
	struct task_struct *thread;

	init_completion(&task->done);
	lock_page(task->page);
	thread = kthread_run(act, task, "prober");
	if (IS_ERR(thread)) {
		unlock_page(task->page);
		return PTR_ERR(thread);
	}
	*half = prober_is_half(task);
	unlock_page(task->page);
	wait_for_completion(&task->done);
	return task->result;
}

/* Does another thread's clear_pinpage() wait for the lock of a page? */
static int prober_waits(struct prober_task *task, int (*act)(void *data),
			bool *waited)
{
	struct task_struct *thread;

	init_completion(&task->done);
	lock_page(task->page);
	thread = kthread_run(act, task, "prober");
	if (IS_ERR(thread)) {
		unlock_page(task->page);
		return PTR_ERR(thread);
	}
	*waited = !wait_for_completion_timeout(&task->done, HZ);
	unlock_page(task->page);
	if (*waited)
		wait_for_completion(&task->done);
	return 0;
}

/*
 * An owner that comes too late: its page has moved, and where it was there is
 * nothing, or what somebody else has there and has locked.
 */
int prober_stale(void)
{
	struct prober_task task = { .psys = &prober_system };
	struct page *page = prober_left();
	int err;

	if (!page)
		return -ENOENT;
	prober_result = clear_pinpage(&prober_system, page);
	task.page = prober_page(0); /* it was never pinned */
	if (!task.page)
		return -ENOMEM;
	err = prober_waits(&task, prober_clears, &prober_stale_waited);
	__free_page(task.page);
	return err;
}

/* Who is told that a page is unlocked, by the thread that does it */
struct prober_waiter {
	struct compat_waiter waiter;
	struct page *page;
	struct task_struct *setter;
};

/* Called within the unlocking: whoever has the lock next can see this */
static int prober_is_unlocked(struct compat_waiter *waiter, unsigned int mode,
			      int flags, void *key)
{
	struct prober_waiter *own = container_of(waiter, struct prober_waiter,
						 waiter);
	struct page *page = own->page;

	if (current != own->setter)
		return 0; /* some other page of the same queue */
	list_del_init(&waiter->compat_waiter_list);
	prober_lru_late = PagePin(page) && !list_empty(&page->lru);
	return 0;
}

/* Is page->lru a list as soon as a page is pinned and unlocked? */
static int prober_lists(struct pinpage_system *psys)
{
	static struct prober_waiter own; /* stays where nobody unlocks the page */
	int err;

	own.page = prober_page(0);
	if (!own.page)
		return -ENOMEM;
	own.setter = current;
	own.page->lru.next = NULL;
	own.page->lru.prev = NULL;
	init_waitqueue_func_entry(&own.waiter, prober_is_unlocked);
	compat_await(own.page, &own.waiter);
	err = set_pinpage(psys, own.page, NULL);
	own.setter = NULL;
	INIT_LIST_HEAD(&own.page->lru);
	return err;
}

/* References beyond the caller's own; an isolator may have one for a moment */
static int prober_refs(struct page *page)
{
	int i;

	for (i = 0; i < PROBER_LOOKS && page_count(page) > 1; i++)
		msleep(20);
	return page_count(page) - 1;
}

/* The same page once more; a task that dies is nobody's to refuse */
static int prober_clear_dying(struct prober_task *task)
{
	bool half;
	int err = set_pinpage(task->psys, task->page, NULL);

	if (err)
		return err;
	prober_killed = prober_under_lock(task, prober_dies, &half);
	return prober_killed ? clear_pinpage(task->psys, task->page) : 0;
}

int prober_unlocked(void)
{
	struct prober_task task = { 0 };
	int err = prober_system_two(&task.psys);

	if (!err)
		err = prober_lists(task.psys);
	if (err)
		return err;
	task.page = prober_page(0);
	if (!task.page)
		return -ENOMEM;
	err = prober_under_lock(&task, prober_sets, &prober_half_set);
	if (!err)
		err = prober_under_lock(&task, prober_clears,
					&prober_half_cleared);
	prober_refs_left = prober_refs(task.page);
	if (!err)
		err = prober_clear_dying(&task);
	if (!err)
		err = set_pinpage(task.psys, task.page, NULL);
	if (!err)
		err = prober_waits(&task, prober_reclaims,
				   &prober_reclaim_waited);
	prober_result = err;
	return 0;
}

void prober_trial_facts(struct seq_file *m)
{
	seq_printf(m, "create_listed %d\n", prober_listed);
	seq_printf(m, "failed_listed %d\n", prober_failed_listed);
	seq_printf(m, "stale_waited %d\n", prober_stale_waited);
	seq_printf(m, "half_set %d\n", prober_half_set);
	seq_printf(m, "half_cleared %d\n", prober_half_cleared);
	seq_printf(m, "lru_late %d\n", prober_lru_late);
	seq_printf(m, "refs_left %d\n", prober_refs_left);
	seq_printf(m, "reclaim_waited %d\n", prober_reclaim_waited);
	seq_printf(m, "killed %d\n", prober_killed);
}

#endif
