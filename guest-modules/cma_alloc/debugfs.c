// SPDX-License-Identifier: GPL-2.0-only
/* The files under /sys/kernel/debug/cma_alloc, see cma_alloc_uapi.h */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "cma_alloc.h"

#define CMA_ALLOC_ARGS	4

static struct dentry *cma_alloc_dir;

/* One command at a time */
static DEFINE_MUTEX(cma_alloc_control_lock);

static int cma_alloc_do_alloc(const u64 *arg)
{
	return cma_alloc_keep(arg[0], arg[1]);
}

static int cma_alloc_do_free_all(const u64 *arg)
{
	return cma_alloc_free_all();
}

static int cma_alloc_do_storm(const u64 *arg)
{
	return cma_alloc_storm(arg[0], arg[1], arg[2], arg[3]);
}

static const struct cma_alloc_command {
	const char *name;
	unsigned int args;
	int (*act)(const u64 *arg);
} cma_alloc_commands[] = {
	{ CMA_ALLOC_ALLOC, 2, cma_alloc_do_alloc },
	{ CMA_ALLOC_FREE_ALL, 0, cma_alloc_do_free_all },
	{ CMA_ALLOC_STORM, 4, cma_alloc_do_storm },
};

static int cma_alloc_act(char *text)
{
	const struct cma_alloc_command *command = NULL;
	u64 arg[CMA_ALLOC_ARGS];
	unsigned int i, words = 0;
	char *word;

	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		if (command) {
			if (words >= CMA_ALLOC_ARGS ||
			    kstrtoull(word, 0, &arg[words++]))
				return -EINVAL;
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(cma_alloc_commands); i++) {
			if (!strcmp(word, cma_alloc_commands[i].name))
				command = &cma_alloc_commands[i];
		}
		if (!command)
			return -EINVAL;
	}
	if (!command || words != command->args)
		return -EINVAL;
	return command->act(arg);
}

static ssize_t cma_alloc_control_write(struct file *file,
				       const char __user *from, size_t size,
				       loff_t *pos)
{
	char text[CMA_ALLOC_COMMAND_MAX + 1];
	int err;

	if (size > CMA_ALLOC_COMMAND_MAX)
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';
	if (mutex_lock_interruptible(&cma_alloc_control_lock))
		return -EINTR;
	err = cma_alloc_act(text);
	mutex_unlock(&cma_alloc_control_lock);
	return err ? err : size;
}

static const struct file_operations cma_alloc_control_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = cma_alloc_control_write,
	.llseek = noop_llseek,
};

/*
 * results: position 0 is the header, then the attempts on record when the file
 * was opened, then the last line.
 */
struct cma_alloc_reader {
	u64 first;
	u64 end;
	u64 next;	/* to be shown: the seq of the line */
	u64 dropped;
};

static void *cma_alloc_results_start(struct seq_file *m, loff_t *pos)
{
	struct cma_alloc_reader *reader = m->private;

	if (!*pos) {
		reader->dropped = reader->first;
		return SEQ_START_TOKEN;
	}
	reader->next = reader->first + *pos - 1;
	return reader->next <= reader->end ? reader : NULL;
}

static void *cma_alloc_results_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return cma_alloc_results_start(m, pos);
}

static void cma_alloc_results_stop(struct seq_file *m, void *v)
{
}

static int cma_alloc_results_show(struct seq_file *m, void *v)
{
	struct cma_alloc_reader *reader = m->private;
	struct cma_alloc_result one;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, CMA_ALLOC_HEADER "\n");
	} else if (reader->next == reader->end) {
		seq_printf(m, CMA_ALLOC_DROPPED " %llu\n", reader->dropped);
	} else if (cma_alloc_get(reader->next, &one)) {
		seq_printf(m, "%llu %u %u %u %lu %d %llu\n", reader->next,
			   one.thread, one.pages, one.align, one.pfn, one.err,
			   one.ns);
	} else {
		reader->dropped++;
		return SEQ_SKIP;
	}
	return 0;
}

static const struct seq_operations cma_alloc_results_ops = {
	.start = cma_alloc_results_start,
	.next = cma_alloc_results_next,
	.stop = cma_alloc_results_stop,
	.show = cma_alloc_results_show,
};

static int cma_alloc_results_open(struct inode *inode, struct file *file)
{
	struct cma_alloc_reader *reader;

	reader = __seq_open_private(file, &cma_alloc_results_ops,
				    sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	cma_alloc_range(&reader->first, &reader->end);
	return 0;
}

static const struct file_operations cma_alloc_results_fops = {
	.owner = THIS_MODULE,
	.open = cma_alloc_results_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

static int cma_alloc_facts_show(struct seq_file *m, void *v)
{
	seq_printf(m, "align_follows %d\n", cma_alloc_align_follows());
	seq_printf(m, "kept %u\n", cma_alloc_kept());
	return 0;
}

static int cma_alloc_facts_open(struct inode *inode, struct file *file)
{
	return single_open(file, cma_alloc_facts_show, NULL);
}

static const struct file_operations cma_alloc_facts_fops = {
	.owner = THIS_MODULE,
	.open = cma_alloc_facts_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static bool cma_alloc_create(const char *name, umode_t mode,
			     const struct file_operations *fops)
{
	struct dentry *file;

	file = debugfs_create_file(name, mode, cma_alloc_dir, NULL, fops);
	return !IS_ERR_OR_NULL(file);
}

int cma_alloc_debugfs_init(void)
{
	cma_alloc_dir = debugfs_create_dir(CMA_ALLOC_DIR, NULL);
	if (IS_ERR_OR_NULL(cma_alloc_dir))
		return cma_alloc_dir ? PTR_ERR(cma_alloc_dir) : -ENOMEM;
	if (cma_alloc_create(CMA_ALLOC_CONTROL, 0200,
			     &cma_alloc_control_fops) &&
	    cma_alloc_create(CMA_ALLOC_RESULTS, 0400,
			     &cma_alloc_results_fops) &&
	    cma_alloc_create(CMA_ALLOC_FACTS, 0400, &cma_alloc_facts_fops))
		return 0;
	debugfs_remove_recursive(cma_alloc_dir);
	return -ENOMEM;
}

void cma_alloc_debugfs_exit(void)
{
	debugfs_remove_recursive(cma_alloc_dir);
}
