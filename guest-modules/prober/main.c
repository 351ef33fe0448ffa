// SPDX-License-Identifier: GPL-2.0-only
/*
 * An owner of pinned pages that can be made to misbehave, to see what becomes
 * of it. Its guest is thrown away: it undoes nothing. See prober_uapi.h.
 */
#define pr_fmt(fmt) "prober: " fmt

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "prober.h"

#define PROBER_ARGS	2

long prober_result;

#if COMPAT_PINPAGE

static DEFINE_MUTEX(prober_control_lock);
static struct dentry *prober_dir;

static int prober_do_pin(const u64 *arg)
{
	return prober_pin(arg[0], arg[1]);
}

static int prober_do_unpin(const u64 *arg)
{
	return prober_unpin();
}

static int prober_do_refuse(const u64 *arg)
{
	if (arg[0] > MAX_ERRNO || !arg[1] || arg[1] > INT_MAX)
		return -EINVAL;
	prober_manner.every = arg[1];
	prober_manner.refusal = arg[0];
	return 0;
}

static int prober_do_busy(const u64 *arg)
{
	if (arg[0] < 2 || arg[0] > INT_MAX)
		return -EINVAL;
	prober_manner.busy = arg[0];
	return 0;
}

static int prober_do_sleep(const u64 *arg)
{
	prober_manner.sleeps = arg[0];
	return 0;
}

static int prober_do_bare(const u64 *arg)
{
	prober_manner.bare = arg[0];
	return 0;
}

static int prober_do_keep(const u64 *arg)
{
	prober_manner.keeps = arg[0];
	return 0;
}

static int prober_do_deny(const u64 *arg)
{
	prober_manner.denies = arg[0];
	return 0;
}

static int prober_do_desert(const u64 *arg)
{
	prober_manner.deserts = arg[0];
	return 0;
}

static int prober_do_unmovable(const u64 *arg)
{
	prober_manner.unmovable = arg[0];
	return 0;
}

static int prober_do_thin(const u64 *arg)
{
	return prober_thin(arg[0]);
}

static int prober_do_fill(const u64 *arg)
{
	return prober_fill(arg[0]);
}

static int prober_do_hold(const u64 *arg)
{
	return prober_hold();
}

static int prober_do_lock(const u64 *arg)
{
	prober_manner.locks = arg[0];
	return 0;
}

static int prober_do_unlock(const u64 *arg)
{
	return prober_unlock();
}

static int prober_do_sweep(const u64 *arg)
{
	return prober_sweep(arg[0]);
}

static int prober_do_contig(const u64 *arg)
{
	return prober_contig();
}

static int prober_do_private(const u64 *arg)
{
	return prober_private(arg[0]);
}

static int prober_do_cycle(const u64 *arg)
{
	return prober_cycle(arg[0]);
}

static int prober_do_repeat(const u64 *arg)
{
	return prober_repeat(arg[0]);
}

static int prober_do_nest(const u64 *arg)
{
	return prober_nest();
}

static int prober_do_compound(const u64 *arg)
{
	return prober_compound();
}

static int prober_do_gone(const u64 *arg)
{
	return prober_gone();
}

static int prober_do_fails(const u64 *arg)
{
	return prober_fails();
}

static int prober_do_stale(const u64 *arg)
{
	return prober_stale();
}

static int prober_do_freed(const u64 *arg)
{
	return prober_freed();
}

static int prober_do_unlocked(const u64 *arg)
{
	return prober_unlocked();
}

static int prober_do_life(const u64 *arg)
{
	return prober_life();
}

static const struct prober_command {
	const char *name;
	unsigned int args;
	int (*act)(const u64 *arg);
} prober_commands[] = {
	{ "pin", 2, prober_do_pin },
	{ "unpin", 0, prober_do_unpin },
	{ "refuse", 2, prober_do_refuse },
	{ "busy", 1, prober_do_busy },
	{ "sleep", 1, prober_do_sleep },
	{ "bare", 1, prober_do_bare },
	{ "keep", 1, prober_do_keep },
	{ "deny", 1, prober_do_deny },
	{ "desert", 1, prober_do_desert },
	{ "unmovable", 1, prober_do_unmovable },
	{ "thin", 1, prober_do_thin },
	{ "fill", 1, prober_do_fill },
	{ "hold", 0, prober_do_hold },
	{ "lock", 1, prober_do_lock },
	{ "unlock", 0, prober_do_unlock },
	{ "sweep", 1, prober_do_sweep },
	{ "contig", 0, prober_do_contig },
	{ "private", 1, prober_do_private },
	{ "cycle", 1, prober_do_cycle },
	{ "repeat", 1, prober_do_repeat },
	{ "nest", 0, prober_do_nest },
	{ "compound", 0, prober_do_compound },
	{ "gone", 0, prober_do_gone },
	{ "fails", 0, prober_do_fails },
	{ "stale", 0, prober_do_stale },
	{ "freed", 0, prober_do_freed },
	{ "unlocked", 0, prober_do_unlocked },
	{ "life", 0, prober_do_life },
};

static int prober_obey(char *text)
{
	const struct prober_command *command = NULL;
	u64 arg[PROBER_ARGS] = { 0 };
	unsigned int i, words = 0;
	char *word;

	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		for (i = 0; !command && i < ARRAY_SIZE(prober_commands); i++) {
			if (!strcmp(word, prober_commands[i].name))
				command = &prober_commands[i];
		}
		if (!command)
			return -EINVAL;
		if (!words++)
			continue;
		if (words - 1 > command->args ||
		    kstrtoull(word, 0, &arg[words - 2]))
			return -EINVAL;
	}
	if (!command || words - 1 != command->args)
		return -EINVAL;
	pr_info("%s %llu %llu\n", command->name, arg[0], arg[1]);
	return command->act(arg);
}

static ssize_t prober_control_write(struct file *file, const char __user *from,
				    size_t size, loff_t *pos)
{
	char text[PROBER_COMMAND_MAX + 1];
	int err;

	if (size > PROBER_COMMAND_MAX)
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';

	mutex_lock(&prober_control_lock);
	err = prober_obey(text);
	mutex_unlock(&prober_control_lock);
	return err ? err : size;
}

static const struct file_operations prober_control_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = prober_control_write,
	.llseek = noop_llseek,
};

static int prober_facts_show(struct seq_file *m, void *v)
{
	seq_printf(m, "posted %d\n", COMPAT_PINPAGE_POSTED);
	seq_printf(m, "result %ld\n", prober_result);
	prober_owner_facts(m);
	prober_trial_facts(m);
	prober_life_facts(m);
#ifdef COMPAT_NR_ISOLATED
	seq_printf(m, "nr_isolated %ld\n", compat_nr_isolated());
#endif
	return 0;
}

static int prober_facts_open(struct inode *inode, struct file *file)
{
	return single_open(file, prober_facts_show, NULL);
}

static const struct file_operations prober_facts_fops = {
	.owner = THIS_MODULE,
	.open = prober_facts_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int prober_pages_show(struct seq_file *m, void *v)
{
	prober_owner_pages(m);
	return 0;
}

static int prober_pages_open(struct inode *inode, struct file *file)
{
	return single_open(file, prober_pages_show, NULL);
}

static const struct file_operations prober_pages_fops = {
	.owner = THIS_MODULE,
	.open = prober_pages_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init prober_init(void)
{
	struct dentry *control, *facts, *pages;

	prober_dir = debugfs_create_dir(PROBER_DIR, NULL);
	if (IS_ERR_OR_NULL(prober_dir))
		return prober_dir ? PTR_ERR(prober_dir) : -ENOMEM;
	control = debugfs_create_file(PROBER_CONTROL, 0200, prober_dir, NULL,
				      &prober_control_fops);
	facts = debugfs_create_file(PROBER_FACTS, 0400, prober_dir, NULL,
				    &prober_facts_fops);
	pages = debugfs_create_file(PROBER_PAGES, 0400, prober_dir, NULL,
				    &prober_pages_fops);
	if (IS_ERR_OR_NULL(control) || IS_ERR_OR_NULL(facts) ||
	    IS_ERR_OR_NULL(pages)) {
		debugfs_remove_recursive(prober_dir);
		return -ENOMEM;
	}
	return 0;
}

#else /* !COMPAT_PINPAGE */

static int __init prober_init(void)
{
	pr_err("this kernel has no pin page subsystem\n");
	return -EOPNOTSUPP;
}

#endif

/* There is no way out: a system that misbehaved may be called for ever. */
module_init(prober_init);
MODULE_DESCRIPTION("An owner of pinned pages that can be made to misbehave");
MODULE_LICENSE("GPL");
