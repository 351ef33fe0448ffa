// SPDX-License-Identifier: GPL-2.0-only
/* Objects loaded, stored and freed in the background while their pages move */
#define pr_fmt(fmt) "pinner: " fmt

#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/printk.h>

#include "pinner.h"

#define PINNER_PICKS	4
#define PINNER_CHURNERS	16

/* Protects what follows, starting the threads and stopping them */
static DEFINE_MUTEX(pinner_churn_lock);
static struct pinner_churner {
	struct task_struct *task;	/* NULL: there is none */
	u64 ops;
	u64 state;			/* of the random numbers */
} pinner_churners[PINNER_CHURNERS];

/*
 * Any object, with a reference; every other time the one that is about to
 * move. Handles have gaps: aim a few times first.
 */
static struct pinner_object *pinner_pick(u64 *state)
{
	struct pinner_object *obj = NULL;
	int i, handle = atomic_read(&pinner_in_hand);

	if (handle && (pinner_random(state) >> 32 & 1))
		obj = pinner_object_find(handle);
	for (i = 0; i < PINNER_PICKS && !obj; i++) {
		u32 last = pinner_last_handle();

		if (!last)
			return NULL;
		handle = 1 + (u32)(pinner_random(state) >> 32) % last;
		obj = pinner_object_find(handle);
	}
	if (!obj)
		obj = pinner_object_next(max(handle, 1));
	return obj ? obj : pinner_object_next(1);
}

static int pinner_churn_one(u64 *state)
{
	u64 dice = pinner_random(state);
	struct pinner_object *obj;
	int err = 0;

	if ((dice >> 8 & 0xff) == 0)
		return pinner_visit();

	/* As many are stored as are freed */
	if ((dice & 7) == 0)
		return pinner_store(1, dice);

	obj = pinner_pick(state);
	if (!obj)
		return pinner_store(1, dice);

	switch (dice & 7) {
	case 1:
		pinner_object_check(obj);
		err = pinner_object_free(obj);
		break;
	case 2:
	case 3:
		err = pinner_object_rewrite(obj, dice);
		break;
	default:
		if (pinner_object_check(obj) != PINNER_IS_STORED)
			err = -EIO;
	}
	pinner_object_put(obj);
	return err;
}

static int pinner_churn(void *data)
{
	struct pinner_churner *churner = data;
	u64 done;
	int err;

	for (done = 0; done < churner->ops && !kthread_should_stop(); done++) {
		err = pinner_churn_one(&churner->state);
		/* Another one has freed it meanwhile, or there was no memory */
		if (err && err != -ENOENT && err != -ENOMEM) {
			atomic_long_inc(&pinner_counters.churn_errors);
			atomic_long_cmpxchg(&pinner_counters.churn_errno, 0,
					    -err);
		}
		atomic_long_inc(&pinner_counters.churn_ops);
		cond_resched();
	}
	pr_info("churned ops=%llu errors=%ld\n", done,
		atomic_long_read(&pinner_counters.churn_errors));
	atomic_long_dec(&pinner_counters.churn_running);
	return 0;
}

/* Wait for the threads' end: their code may go afterwards. */
static void pinner_churn_reap(void)
{
	unsigned int i;

	for (i = 0; i < PINNER_CHURNERS; i++) {
		struct task_struct *task = pinner_churners[i].task;

		if (!task)
			continue;
		/* Stopped before its first step, it has not said so itself */
		if (kthread_stop(task) == -EINTR)
			atomic_long_dec(&pinner_counters.churn_running);
		put_task_struct(task);
		pinner_churners[i].task = NULL;
	}
}

void pinner_churn_stop(void)
{
	mutex_lock(&pinner_churn_lock);
	pinner_churn_reap();
	mutex_unlock(&pinner_churn_lock);
}

static int pinner_churn_create(struct pinner_churner *churner, u64 ops,
			       u64 state)
{
	struct task_struct *task;

	task = kthread_create(pinner_churn, churner, "pinner_churn");
	if (IS_ERR(task))
		return PTR_ERR(task);
	churner->ops = ops;
	churner->state = state;
	/* It may have ended by itself when it is stopped */
	get_task_struct(task);
	churner->task = task;
	atomic_long_inc(&pinner_counters.churn_running);
	return 0;
}

/* All of them, or none */
static int pinner_churn_create_all(u64 ops, u64 seed, u64 threads)
{
	unsigned int i;
	int err;

	atomic_long_set(&pinner_counters.churn_ops, 0);
	atomic_long_set(&pinner_counters.churn_errors, 0);
	atomic_long_set(&pinner_counters.churn_errno, 0);
	for (i = 0; i < threads; i++) {
		err = pinner_churn_create(&pinner_churners[i], ops, seed + i);
		if (err) {
			pinner_churn_reap();
			return err;
		}
	}
	for (i = 0; i < threads; i++)
		wake_up_process(pinner_churners[i].task);
	return 0;
}

/* So many operations by each of some threads */
int pinner_churn_start(u64 ops, u64 seed, u64 threads)
{
	int err = -EBUSY;

	if (!threads || threads > PINNER_CHURNERS)
		return -EINVAL;

	mutex_lock(&pinner_churn_lock);
	if (!atomic_long_read(&pinner_counters.churn_running)) {
		pinner_churn_reap();
		err = pinner_churn_create_all(ops, seed, threads);
	}
	mutex_unlock(&pinner_churn_lock);
	return err;
}
