/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the module share */
#ifndef CMA_ALLOC_H
#define CMA_ALLOC_H

#include <linux/types.h>

#include "../compat.h"
#include "cma_alloc_uapi.h"

/* What is needed to give it back */
struct cma_alloc_buffer {
	void *cookie;
	dma_addr_t at;
	unsigned int pages;
};

struct cma_alloc_result {
	u64 ns;
	unsigned long pfn;
	unsigned int pages;
	unsigned int align;
	unsigned int thread;
	int err;
};

/* buffers.c: buffers, and the record of the attempts at them */
int cma_alloc_buffers_init(void);
void cma_alloc_buffers_exit(void);
int cma_alloc_try(unsigned int thread, unsigned int pages, unsigned int align,
		  struct cma_alloc_buffer *buffer);
void cma_alloc_put(struct cma_alloc_buffer *buffer);
bool cma_alloc_align_follows(void);
int cma_alloc_keep(u64 pages, u64 align);
int cma_alloc_free_all(void);
unsigned int cma_alloc_kept(void);
void cma_alloc_range(u64 *first, u64 *end);
bool cma_alloc_get(u64 seq, struct cma_alloc_result *result);

/* storm.c */
int cma_alloc_storm(u64 threads, u64 tries, u64 pages, u64 align);

/* debugfs.c */
int cma_alloc_debugfs_init(void);
void cma_alloc_debugfs_exit(void);

#endif
