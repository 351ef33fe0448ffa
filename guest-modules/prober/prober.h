/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the module share */
#ifndef PROBER_H
#define PROBER_H

#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/types.h>

#include "../compat.h"
#include "prober_uapi.h"

/* As zram and zswap: from any zone, and with the pages that can move */
#define PROBER_GFP	(GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE | \
			 __GFP_NOWARN | __GFP_NORETRY)

/* As most of the kernel's own */
#define PROBER_FIXED	(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY)

#define PROBER_LOOKS	50	/* at 20 ms: how long another thread gets */

/* How the owner behaves */
struct prober_manner {
	int refusal;		/* errno of the refused, 0: none is */
	u64 every;
	u64 busy;		/* of how many pages one is for a moment, 0: none */
	bool unmovable;		/* pages are of the kind that does not move */
	bool bare;		/* page->lru is left alone, as documented */
	bool sleeps;
	bool keeps;
	bool denies;
	bool deserts;
	bool locks;
};

/* main.c */
extern long prober_result;

#if COMPAT_PINPAGE
/* owner.c */
extern struct prober_manner prober_manner;
extern struct pinpage_system prober_system;
int prober_pin(u64 count, u64 every);
int prober_unpin(void);
int prober_thin(u64 nth);
int prober_fill(u64 left);
int prober_hold(void);
int prober_unlock(void);
int prober_contig(void);
int prober_sweep(bool on);
struct page *prober_left(void);
void prober_owner_facts(struct seq_file *m);
void prober_owner_pages(struct seq_file *m);

/* trial.c */
int prober_never(struct pinpage_system *psys, struct page *page,
		 struct page *newpage);
int prober_private(u64 count);
int prober_cycle(u64 count);
int prober_repeat(u64 count);
int prober_nest(void);
int prober_compound(void);
int prober_gone(void);
int prober_fails(void);
int prober_stale(void);
int prober_freed(void);
int prober_unlocked(void);
void prober_trial_facts(struct seq_file *m);

/* life.c */
int prober_life(void);
void prober_life_facts(struct seq_file *m);
#endif

#endif
