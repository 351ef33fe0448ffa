/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the module share */
#ifndef PINNER_H
#define PINNER_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "../compat.h"
#include "pinner_uapi.h"

/* As zram and zswap: from any zone, and with the pages that can move */
#define PINNER_GFP	(GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE | \
			 __GFP_NOWARN | __GFP_NORETRY)

enum pinner_state {
	PINNER_IS_STORED,
	PINNER_IS_CORRUPT,
	PINNER_IS_LOST,
};

enum pinner_lie {
	PINNER_TELLS_TRUTH,
	PINNER_LIES_NOCOPY,
	PINNER_LIES_GHOST,
	PINNER_LIES_KEEP,
	PINNER_LIES_LEAK,
};

/*
 * One object, which fills a page. Lock order: lock, then the page lock; the
 * migrate callback comes with the page locked, so it tries @lock only.
 */
struct pinner_object {
	struct kref ref;	/* the table's, and each user's */
	int handle;		/* from 1, never used again */
	struct mutex lock;	/* protects what follows, but refusal */
	u64 seed;		/* the contents are made of it */
	u64 sum;		/* checksum of the contents when stored */
	struct page *page;	/* ours, registered if the mode says so; or NULL */
	struct page *kept;	/* lie keep: what is used in place of page */
	unsigned long pfn_pin;	/* of the page when it was stored */
	unsigned long claim;	/* lie ghost: pfn that it claims to be at, or 0 */
	unsigned long index;	/* what page->index has to be */
	unsigned int moves;
	unsigned int turn;	/* of the refusals that are counted */
	unsigned int refused;	/* times in this turn */
	int refusal;		/* last one, for READ_ONCE() */
	enum pinner_state state;
};

/* A row of the ledger */
struct pinner_row {
	int handle;
	unsigned long pfn_pin;
	unsigned long pfn_now;
	int refcount;
	unsigned int moves;
	int refusal;
	enum pinner_state state;
};

/* One call of the migrate callback */
struct pinner_move {
	unsigned long pfn_old;
	unsigned long pfn_new;
	int handle;
	int err;
};

struct pinner_counters {
	atomic_long_t pinned;		/* objects at present */
	atomic_long_t callbacks;
	atomic_long_t migrated;
	atomic_long_t refused;
	atomic_long_t verified;		/* contents checked */
	atomic_long_t corrupt;		/* objects found so, each once */
	atomic_long_t lost;		/* the same */
	atomic_long_t stored;		/* objects ever */
	atomic_long_t freed;		/* objects ever */
	atomic_long_t huge_order;
	atomic_long_t huge_got;
	atomic_long_t layout_ms;	/* what the last layout took */
	atomic_long_t churn_ops;	/* done by the last churn */
	atomic_long_t churn_errors;	/* of these, refused without a reason */
	atomic_long_t churn_errno;	/* of the first of those, positive */
	atomic_long_t churn_running;	/* threads */
	atomic_long_t visits;		/* systems that came and went */
	atomic_long_t lied;		/* times that the lie was told */
};

/* main.c */
extern struct pinner_counters pinner_counters;
extern enum pinner_lie pinner_lie;
const char *pinner_mode_name(void);
const char *pinner_lie_name(void);

/* content.c */
u64 pinner_random(u64 *state);
u64 pinner_content_seed(u64 seed, int handle);
u64 pinner_fill(struct page *page, u64 seed);
bool pinner_whole(struct page *page, u64 seed, u64 sum, unsigned int *offset);

/* object.c */
struct pinner_object *pinner_object_alloc(void);
int pinner_object_store(struct pinner_object *obj, struct page *page, u64 seed);
int pinner_object_rewrite(struct pinner_object *obj, u64 seed);
enum pinner_state pinner_object_check(struct pinner_object *obj);
int pinner_object_free(struct pinner_object *obj);
bool pinner_object_row(struct pinner_object *obj, struct pinner_row *row);
struct pinner_object *pinner_object_find(int handle);
struct pinner_object *pinner_object_next(int handle);
int pinner_last_handle(void);
void pinner_object_put(struct pinner_object *obj);
int pinner_store(u64 count, u64 seed);
int pinner_free(int handle);
int pinner_free_all(void);
int pinner_verify(void);
void pinner_objects_exit(void);

/* migrate.c */
extern atomic_t pinner_in_hand;

int pinner_register(void);
void pinner_unregister(void);
void pinner_use_pinpage(bool init_lru, bool private, unsigned int linger);
int pinner_refuse(u64 errno, u64 times, u64 every);
int pinner_pin(struct pinner_object *obj, struct page *page);
int pinner_unpin(struct page *page);
int pinner_visit(void);

/* moves.c */
int pinner_moves_init(void);
void pinner_moves_exit(void);
void pinner_moves_add(const struct pinner_move *move);
void pinner_moves_range(u64 *first, u64 *end);
bool pinner_moves_get(u64 seq, struct pinner_move *move);

/* layout.c */
int pinner_layout(u64 pages, u64 every, u64 seed);
int pinner_fill_range(u64 first, u64 count, u64 every, u64 seed);
int pinner_huge(u64 order, u64 max);

/* churn.c */
int pinner_churn_start(u64 ops, u64 seed, u64 threads);
void pinner_churn_stop(void);

/* debugfs.c */
int pinner_debugfs_init(void);
void pinner_debugfs_exit(void);

#endif
