// SPDX-License-Identifier: GPL-2.0-only
/* The record of the callback's calls: a ring, the oldest go first */
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

#include "pinner.h"

/* Protects the ring and its end; the callback may come under a spinlock */
static DEFINE_SPINLOCK(pinner_moves_lock);
static struct pinner_move *pinner_ring;
static u64 pinner_moves_end;	/* number of calls so far */

int pinner_moves_init(void)
{
	pinner_ring = vzalloc(PINNER_MOVES_MAX * sizeof(*pinner_ring));
	return pinner_ring ? 0 : -ENOMEM;
}

void pinner_moves_exit(void)
{
	vfree(pinner_ring);
}

static struct pinner_move *pinner_slot(u64 seq)
{
	return &pinner_ring[seq & (PINNER_MOVES_MAX - 1)];
}

static u64 pinner_oldest(void)
{
	if (pinner_moves_end < PINNER_MOVES_MAX)
		return 0;
	return pinner_moves_end - PINNER_MOVES_MAX;
}

void pinner_moves_add(const struct pinner_move *move)
{
	BUILD_BUG_ON(PINNER_MOVES_MAX & (PINNER_MOVES_MAX - 1));

	spin_lock(&pinner_moves_lock);
	*pinner_slot(pinner_moves_end) = *move;
	pinner_moves_end++;
	spin_unlock(&pinner_moves_lock);
}

/* The calls on record at this moment: @first to @end - 1 */
void pinner_moves_range(u64 *first, u64 *end)
{
	spin_lock(&pinner_moves_lock);
	*first = pinner_oldest();
	*end = pinner_moves_end;
	spin_unlock(&pinner_moves_lock);
}

/* One call; false if it is no longer on record */
bool pinner_moves_get(u64 seq, struct pinner_move *move)
{
	bool found;

	spin_lock(&pinner_moves_lock);
	found = seq >= pinner_oldest() && seq < pinner_moves_end;
	if (found)
		*move = *pinner_slot(seq);
	spin_unlock(&pinner_moves_lock);
	return found;
}
