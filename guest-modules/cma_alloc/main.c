// SPDX-License-Identifier: GPL-2.0-only
/*
 * A user of contiguous memory: it asks as a driver would, one buffer or many
 * side by side, and notes what it got and how long that took.
 */
#define pr_fmt(fmt) "cma_alloc: " fmt

#include <linux/module.h>

#include "cma_alloc.h"

static int __init cma_alloc_init(void)
{
	int err = cma_alloc_buffers_init();

	if (err == -EOPNOTSUPP)
		pr_err("this kernel has no contiguous areas for modules\n");
	if (err)
		return err;
	err = cma_alloc_debugfs_init();
	if (err)
		cma_alloc_buffers_exit();
	return err;
}

/* A file of ours that is open holds the module: nobody is in the middle. */
static void __exit cma_alloc_exit(void)
{
	cma_alloc_debugfs_exit();
	cma_alloc_buffers_exit();
}

module_init(cma_alloc_init);
module_exit(cma_alloc_exit);
MODULE_DESCRIPTION("Contiguous buffers, for tests of page migration");
MODULE_LICENSE("GPL");
