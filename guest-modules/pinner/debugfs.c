// SPDX-License-Identifier: GPL-2.0-only
/* The files under /sys/kernel/debug/pinner, see pinner_uapi.h */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "pinner.h"

#define PINNER_ARGS	4

static struct dentry *pinner_dir;

/* Commands change a lot at once: one at a time */
static DEFINE_MUTEX(pinner_control_lock);

static int pinner_do_layout(const u64 *arg)
{
	return pinner_layout(arg[0], arg[1], arg[2]);
}

static int pinner_do_fill(const u64 *arg)
{
	return pinner_fill_range(arg[0], arg[1], arg[2], arg[3]);
}

static int pinner_do_store(const u64 *arg)
{
	return pinner_store(arg[0], arg[1]);
}

static int pinner_do_free(const u64 *arg)
{
	return arg[0] <= INT_MAX ? pinner_free(arg[0]) : -ENOENT;
}

static int pinner_do_free_all(const u64 *arg)
{
	return pinner_free_all();
}

static int pinner_do_verify(const u64 *arg)
{
	return pinner_verify();
}

static int pinner_do_huge(const u64 *arg)
{
	return pinner_huge(arg[0], arg[1]);
}

static int pinner_do_churn(const u64 *arg)
{
	if (arg[0])
		return pinner_churn_start(arg[0], arg[1], arg[2]);
	pinner_churn_stop();
	return 0;
}

static int pinner_do_refuse(const u64 *arg)
{
	return pinner_refuse(arg[0], arg[1], arg[2]);
}

static const struct pinner_command {
	const char *name;
	unsigned int args;
	int (*act)(const u64 *arg);
} pinner_commands[] = {
	{ PINNER_LAYOUT, 3, pinner_do_layout },
	{ PINNER_FILL, 4, pinner_do_fill },
	{ PINNER_STORE, 2, pinner_do_store },
	{ PINNER_FREE, 1, pinner_do_free },
	{ PINNER_FREE_ALL, 0, pinner_do_free_all },
	{ PINNER_VERIFY, 0, pinner_do_verify },
	{ PINNER_HUGE, 2, pinner_do_huge },
	{ PINNER_CHURN, 3, pinner_do_churn },
	{ PINNER_REFUSE, 3, pinner_do_refuse },
};

static const struct pinner_command *pinner_command(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pinner_commands); i++) {
		if (!strcmp(name, pinner_commands[i].name))
			return &pinner_commands[i];
	}
	return NULL;
}

static int pinner_parse(char *text, const struct pinner_command **command,
			u64 *arg)
{
	unsigned int i, words = 0;
	char *word;

	*command = NULL;
	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		if (!*command) {
			*command = pinner_command(word);
			if (!*command)
				return -EINVAL;
			continue;
		}
		i = words++;
		if (i >= PINNER_ARGS || kstrtoull(word, 0, &arg[i]))
			return -EINVAL;
	}
	return *command && words == (*command)->args ? 0 : -EINVAL;
}

static ssize_t pinner_control_write(struct file *file, const char __user *from,
				    size_t size, loff_t *pos)
{
	const struct pinner_command *command;
	char text[PINNER_COMMAND_MAX + 1];
	u64 arg[PINNER_ARGS];
	int err;

	if (size > PINNER_COMMAND_MAX)
		return -EINVAL;
	if (copy_from_user(text, from, size))
		return -EFAULT;
	text[size] = '\0';
	err = pinner_parse(text, &command, arg);
	if (err)
		return err;

	if (mutex_lock_interruptible(&pinner_control_lock))
		return -EINTR;
	err = command->act(arg);
	mutex_unlock(&pinner_control_lock);
	return err ? err : size;
}

static const struct file_operations pinner_control_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = pinner_control_write,
	.llseek = noop_llseek,
};

/* ledger: position 0 is the header, others the handle looked for */
static void *pinner_ledger_start(struct seq_file *m, loff_t *pos)
{
	struct pinner_object *obj;

	if (!*pos)
		return SEQ_START_TOKEN;
	if (*pos > INT_MAX)
		return NULL;
	obj = pinner_object_next(*pos);
	if (obj)
		*pos = obj->handle;
	return obj;
}

static void pinner_ledger_stop(struct seq_file *m, void *v)
{
	if (v && v != SEQ_START_TOKEN)
		pinner_object_put(v);
}

static void *pinner_ledger_next(struct seq_file *m, void *v, loff_t *pos)
{
	pinner_ledger_stop(m, v);
	++*pos;
	return pinner_ledger_start(m, pos);
}

static const char *pinner_state_name(enum pinner_state state)
{
	switch (state) {
	case PINNER_IS_CORRUPT:
		return PINNER_CORRUPT;
	case PINNER_IS_LOST:
		return PINNER_LOST;
	default:
		return PINNER_STORED;
	}
}

static int pinner_ledger_show(struct seq_file *m, void *v)
{
	struct pinner_row row;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, PINNER_LEDGER_HEADER "\n");
		return 0;
	}
	if (!pinner_object_row(v, &row))
		return SEQ_SKIP;
	seq_printf(m, "%d %lu %lu %u %d %s\n", row.handle, row.pfn_pin,
		   row.pfn_now, row.moves, row.refusal,
		   pinner_state_name(row.state));
	return 0;
}

static const struct seq_operations pinner_ledger_ops = {
	.start = pinner_ledger_start,
	.next = pinner_ledger_next,
	.stop = pinner_ledger_stop,
	.show = pinner_ledger_show,
};

static int pinner_ledger_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &pinner_ledger_ops);
}

static const struct file_operations pinner_ledger_fops = {
	.owner = THIS_MODULE,
	.open = pinner_ledger_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release,
};

/* refs: the same objects, with the references on their pages */
static int pinner_refs_show(struct seq_file *m, void *v)
{
	struct pinner_row row;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, PINNER_REFS_HEADER "\n");
		return 0;
	}
	if (!pinner_object_row(v, &row))
		return SEQ_SKIP;
	seq_printf(m, "%d %lu %d\n", row.handle, row.pfn_now, row.refcount);
	return 0;
}

static const struct seq_operations pinner_refs_ops = {
	.start = pinner_ledger_start,
	.next = pinner_ledger_next,
	.stop = pinner_ledger_stop,
	.show = pinner_refs_show,
};

static int pinner_refs_open(struct inode *inode, struct file *file)
{
	return seq_open(file, &pinner_refs_ops);
}

static const struct file_operations pinner_refs_fops = {
	.owner = THIS_MODULE,
	.open = pinner_refs_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release,
};

/*
 * moves: position 0 is the header, then the calls that were on record when the
 * file was opened, then the last line. Calls go on meanwhile: one that has
 * fallen off by the time that it is to be shown counts as dropped.
 */
struct pinner_reader {
	u64 first;
	u64 end;
	u64 next;	/* to be shown: the seq of the line */
	u64 dropped;
};

static void *pinner_moves_start(struct seq_file *m, loff_t *pos)
{
	struct pinner_reader *reader = m->private;

	if (!*pos) {
		reader->dropped = reader->first;
		return SEQ_START_TOKEN;
	}
	reader->next = reader->first + *pos - 1;
	return reader->next <= reader->end ? reader : NULL;
}

static void *pinner_moves_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return pinner_moves_start(m, pos);
}

static void pinner_moves_stop(struct seq_file *m, void *v)
{
}

static int pinner_moves_show(struct seq_file *m, void *v)
{
	struct pinner_reader *reader = m->private;
	struct pinner_move move;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, PINNER_MOVES_HEADER "\n");
	} else if (reader->next == reader->end) {
		seq_printf(m, PINNER_MOVES_DROPPED " %llu\n", reader->dropped);
	} else if (pinner_moves_get(reader->next, &move)) {
		seq_printf(m, "%llu %d %lu %lu %d\n", reader->next,
			   move.handle, move.pfn_old, move.pfn_new, move.err);
	} else {
		reader->dropped++;
		return SEQ_SKIP;
	}
	return 0;
}

static const struct seq_operations pinner_moves_ops = {
	.start = pinner_moves_start,
	.next = pinner_moves_next,
	.stop = pinner_moves_stop,
	.show = pinner_moves_show,
};

static int pinner_moves_open(struct inode *inode, struct file *file)
{
	struct pinner_reader *reader;

	reader = __seq_open_private(file, &pinner_moves_ops, sizeof(*reader));
	if (!reader)
		return -ENOMEM;
	pinner_moves_range(&reader->first, &reader->end);
	return 0;
}

static const struct file_operations pinner_moves_fops = {
	.owner = THIS_MODULE,
	.open = pinner_moves_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = seq_release_private,
};

static int pinner_counters_show(struct seq_file *m, void *v)
{
	struct pinner_counters *c = &pinner_counters;
	const struct {
		const char *name;
		atomic_long_t *value;
	} lines[] = {
		{ "pinned", &c->pinned },
		{ "callbacks", &c->callbacks },
		{ "migrated", &c->migrated },
		{ "refused", &c->refused },
		{ "verified", &c->verified },
		{ "corrupt", &c->corrupt },
		{ "lost", &c->lost },
		{ "stored", &c->stored },
		{ "freed", &c->freed },
		{ "huge_order", &c->huge_order },
		{ "huge_got", &c->huge_got },
		{ "layout_ms", &c->layout_ms },
		{ "churn_ops", &c->churn_ops },
		{ "churn_errors", &c->churn_errors },
		{ "churn_errno", &c->churn_errno },
		{ "churn_running", &c->churn_running },
		{ "visits", &c->visits },
		{ "lied", &c->lied },
	};
	unsigned int i;

	seq_printf(m, "mode %s\nlie %s\n", pinner_mode_name(),
		   pinner_lie_name());
	for (i = 0; i < ARRAY_SIZE(lines); i++)
		seq_printf(m, "%s %ld\n", lines[i].name,
			   atomic_long_read(lines[i].value));
#ifdef COMPAT_NR_ISOLATED
	seq_printf(m, "nr_isolated %ld\n", compat_nr_isolated());
#endif
	return 0;
}

static int pinner_counters_open(struct inode *inode, struct file *file)
{
	return single_open(file, pinner_counters_show, NULL);
}

static const struct file_operations pinner_counters_fops = {
	.owner = THIS_MODULE,
	.open = pinner_counters_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

int pinner_debugfs_init(void)
{
	static const struct {
		const char *name;
		umode_t access;
		const struct file_operations *fops;
	} files[] = {
		{ PINNER_CONTROL, 0200, &pinner_control_fops },
		{ PINNER_LEDGER, 0400, &pinner_ledger_fops },
		{ PINNER_REFS, 0400, &pinner_refs_fops },
		{ PINNER_MOVES, 0400, &pinner_moves_fops },
		{ PINNER_COUNTERS, 0400, &pinner_counters_fops },
	};
	struct dentry *file;
	unsigned int i;

	pinner_dir = debugfs_create_dir(PINNER_DIR, NULL);
	if (IS_ERR_OR_NULL(pinner_dir))
		return pinner_dir ? PTR_ERR(pinner_dir) : -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		file = debugfs_create_file(files[i].name, files[i].access,
					   pinner_dir, NULL, files[i].fops);
		if (IS_ERR_OR_NULL(file)) {
			debugfs_remove_recursive(pinner_dir);
			return file ? PTR_ERR(file) : -ENOMEM;
		}
	}
	return 0;
}

void pinner_debugfs_exit(void)
{
	debugfs_remove_recursive(pinner_dir);
}
