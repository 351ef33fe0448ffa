// SPDX-License-Identifier: GPL-2.0-only
/* Buffers got and given back by several threads side by side */
#define pr_fmt(fmt) "cma_alloc: " fmt

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/printk.h>
#include <linux/slab.h>

#include "cma_alloc.h"

/* One storm; its threads share it, and the last one to end says so. */
struct cma_alloc_storm {
	struct completion start;
	struct completion done;
	atomic_t running;
	bool stop;
	unsigned int tries;
	unsigned int pages;
	unsigned int align;
};

struct cma_alloc_thread {
	struct cma_alloc_storm *storm;
	unsigned int number;	/* from 1 */
	struct task_struct *task;
};

static int cma_alloc_blow(void *data)
{
	struct cma_alloc_thread *thread = data;
	struct cma_alloc_storm *storm = thread->storm;
	struct cma_alloc_buffer buffer;
	unsigned int i;

	wait_for_completion(&storm->start);
	for (i = 0; i < storm->tries && !READ_ONCE(storm->stop); i++) {
		if (!cma_alloc_try(thread->number, storm->pages, storm->align,
				   &buffer))
			cma_alloc_put(&buffer);
		cond_resched();
	}
	if (atomic_dec_and_test(&storm->running))
		complete(&storm->done);
	/* Until it is reaped: its code may go with the module afterwards */
	while (!kthread_should_stop()) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static int cma_alloc_start(struct cma_alloc_storm *storm,
			   struct cma_alloc_thread *threads, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct cma_alloc_thread *thread = &threads[i];
		struct task_struct *task;

		thread->storm = storm;
		thread->number = i + 1;
		task = kthread_run(cma_alloc_blow, thread, "cma_alloc/%u",
				   i + 1);
		if (IS_ERR(task))
			return PTR_ERR(task);
		thread->task = task;
		atomic_inc(&storm->running);
	}
	return 0;
}

/* Let all of them go at once, and wait for their end, or for a fatal signal. */
static int cma_alloc_wait(struct cma_alloc_storm *storm)
{
	complete_all(&storm->start);
	if (!atomic_read(&storm->running))
		return 0;
	if (!wait_for_completion_killable(&storm->done))
		return 0;
	WRITE_ONCE(storm->stop, true);
	wait_for_completion(&storm->done);
	return -EINTR;
}

int cma_alloc_storm(u64 count, u64 tries, u64 pages, u64 align)
{
	struct cma_alloc_storm storm = {
		.tries = tries, .pages = pages, .align = align,
	};
	struct cma_alloc_thread *threads;
	unsigned int i;
	int err, ended;

	if (!count || count > CMA_ALLOC_THREADS_MAX || !tries ||
	    tries > CMA_ALLOC_RESULTS_MAX || !pages ||
	    pages > INT_MAX >> PAGE_SHIFT || align > BITS_PER_LONG)
		return -EINVAL;
	threads = kcalloc(count, sizeof(*threads), GFP_KERNEL);
	if (!threads)
		return -ENOMEM;
	init_completion(&storm.start);
	init_completion(&storm.done);
	atomic_set(&storm.running, 0);

	err = cma_alloc_start(&storm, threads, count);
	if (err)
		WRITE_ONCE(storm.stop, true);
	ended = cma_alloc_wait(&storm);
	for (i = 0; i < count && threads[i].task; i++)
		kthread_stop(threads[i].task);
	kfree(threads);
	return err ? err : ended;
}
