// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a system and of one page, call by call: what is not refused that
 * has to be, and what a refusal leaves behind.
 */
#define pr_fmt(fmt) "prober: " fmt

#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/printk.h>

#include "prober.h"

#if COMPAT_PINPAGE

static unsigned int prober_step;	/* of its life that went wrong, 0: none */
static long prober_said;		/* there */

#if COMPAT_PINPAGE_POSTED

/* It refuses next to nothing, and would not live through it */
int prober_life(void)
{
	return -EOPNOTSUPP;
}

#else

static bool prober_full;
static unsigned int prober_destroyed;

static int prober_life_add(struct pinpage_system *psys, struct page *page,
			   void *private)
{
	return prober_full ? -ENOMEM : general_add_page(psys, page, private);
}

static int prober_life_destroy(struct pinpage_system *psys)
{
	prober_destroyed++;
	return general_destroy_subsys(psys);
}

static const struct pinpage_system prober_born = {
	.create_subsys = general_create_subsys,
	.destroy_subsys = prober_life_destroy,
	.migrate = prober_never,
	.add_page = prober_life_add,
	.del_page = general_del_page,
	.find_page = general_find_page,
	.dup_page = general_dup_page,
};

static struct pinpage_system prober_mortal;
static struct pinpage_system prober_stranger;

/* The page of an owner that could not take it: 1 for each thing that is not as before */
static int prober_untouched(struct page *page)
{
	return PageLocked(page) + PagePin(page) +
	       general_find_page(&prober_mortal, page) +
	       page_count(page) - 1;
}

static bool prober_wrong(long said, long due)
{
	prober_step++;
	prober_said = said;
	return said != due;
}

/* The number of a step is part of what is said of it: see harness */
static bool prober_lives(struct page *page)
{
	struct pinpage_system *psys = &prober_mortal;
	bool wrong;

	*psys = prober_born;
	if (prober_wrong(set_pinpage(psys, page, NULL), -EINVAL) ||
	    prober_wrong(clear_pinpage(psys, page), -EINVAL) ||
	    prober_wrong(unregister_pinpage(psys), -EINVAL) ||
	    prober_wrong(register_pinpage(psys), 0) ||
	    prober_wrong(register_pinpage(psys), -EEXIST))
		return false;

	prober_full = true;
	wrong = prober_wrong(set_pinpage(psys, page, NULL), -ENOMEM) ||
		prober_wrong(prober_untouched(page), 0);
	prober_full = false;

	if (wrong ||
	    prober_wrong(set_pinpage(psys, page, NULL), 0) ||
	    prober_wrong(unregister_pinpage(psys), -EBUSY) ||
	    prober_wrong(prober_destroyed, 0) ||
	    prober_wrong(clear_pinpage(&prober_stranger, page), -EINVAL) ||
	    prober_wrong(clear_pinpage(psys, page), 0) ||
	    prober_wrong(clear_pinpage(psys, page), -EINVAL) ||
	    prober_wrong(unregister_pinpage(psys), 0) ||
	    prober_wrong(prober_destroyed, 1) ||
	    prober_wrong(set_pinpage(psys, page, NULL), -EINVAL) ||
	    prober_wrong(unregister_pinpage(psys), -EINVAL))
		return false;

	*psys = prober_born;
	return !prober_wrong(register_pinpage(psys), 0) &&
	       !prober_wrong(unregister_pinpage(psys), 0);
}

int prober_life(void)
{
	struct page *page = alloc_page(PROBER_GFP);
	int err;

	if (!page)
		return -ENOMEM;
	prober_stranger = prober_born;
	err = register_pinpage(&prober_stranger);
	if (err)
		return err;
	prober_step = 0;
	prober_destroyed = 0;
	if (prober_lives(page)) {
		prober_step = 0;
		__free_page(page);
	}
	return unregister_pinpage(&prober_stranger);
}

#endif

void prober_life_facts(struct seq_file *m)
{
	seq_printf(m, "life_step %u\n", prober_step);
	seq_printf(m, "life_said %ld\n", prober_said);
}

#endif
