// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stand-in for zram and zswap: objects in pages of the kernel's own, which
 * nobody but their owner can move. See pinner_uapi.h for how to drive it.
 */
#define pr_fmt(fmt) "pinner: " fmt

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/string.h>

#include "pinner.h"

#define PINNER_LINGER_MOST	1000U	/* microseconds, maybe without a schedule */

struct pinner_counters pinner_counters;
enum pinner_lie pinner_lie;

static char *mode = PINNER_MODE_PLAIN;
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "plain (pages stay) or pinpage (pages can move)");

static char *lie = PINNER_LIE_NONE;
module_param(lie, charp, 0444);
MODULE_PARM_DESC(lie, "self-test of the harness: none, nocopy, ghost, keep or leak");

static bool init_lru;
module_param(init_lru, bool, 0444);
MODULE_PARM_DESC(init_lru, "initialise page->lru, which the subsystem as posted wants and forbids");

static bool private = !COMPAT_PINPAGE_POSTED;
module_param(private, bool, 0444);
MODULE_PARM_DESC(private, "pin with a private pointer: by default where it can be had back");

static unsigned int linger;
module_param(linger, uint, 0444);
MODULE_PARM_DESC(linger, "microseconds that the owner takes before it moves a page, 1000 at most");

static const char * const pinner_lies[] = {
	[PINNER_TELLS_TRUTH] = PINNER_LIE_NONE,
	[PINNER_LIES_NOCOPY] = PINNER_LIE_NOCOPY,
	[PINNER_LIES_GHOST] = PINNER_LIE_GHOST,
	[PINNER_LIES_KEEP] = PINNER_LIE_KEEP,
	[PINNER_LIES_LEAK] = PINNER_LIE_LEAK,
};

const char *pinner_mode_name(void)
{
	return mode;
}

const char *pinner_lie_name(void)
{
	return lie;
}

static int __init pinner_parse_parameters(void)
{
	unsigned int i;

	if (!strcmp(mode, PINNER_MODE_PINPAGE)) {
		pinner_use_pinpage(init_lru, private,
				   min(linger, PINNER_LINGER_MOST));
	} else if (strcmp(mode, PINNER_MODE_PLAIN)) {
		pr_err("mode=%s: there is no such mode\n", mode);
		return -EINVAL;
	}

	for (i = 0; i < ARRAY_SIZE(pinner_lies); i++) {
		if (!strcmp(lie, pinner_lies[i])) {
			pinner_lie = i;
			return 0;
		}
	}
	pr_err("lie=%s: there is no such lie\n", lie);
	return -EINVAL;
}

static int __init pinner_init(void)
{
	int err = pinner_parse_parameters();

	if (err)
		return err;
	err = pinner_moves_init();
	if (err)
		return err;
	err = pinner_register();
	if (err)
		goto out_moves;
	err = pinner_debugfs_init();
	if (err)
		goto out_register;
	pr_info("ready mode=%s lie=%s\n", mode, lie);
	return 0;

out_register:
	pinner_unregister();
out_moves:
	pinner_moves_exit();
	return err;
}

/*
 * Nobody has a file of ours open (that holds the module), and nobody gets in
 * any more when debugfs_exit is done; then the thread, the pages, the
 * callbacks.
 */
static void __exit pinner_exit(void)
{
	pinner_debugfs_exit();
	pinner_churn_stop();
	pinner_free_all();
	pinner_unregister();
	pinner_objects_exit();
	pinner_moves_exit();
	pr_info("gone\n");
}

module_init(pinner_init);
module_exit(pinner_exit);
MODULE_DESCRIPTION("Objects in pinned pages, for tests of page migration");
MODULE_LICENSE("GPL");
