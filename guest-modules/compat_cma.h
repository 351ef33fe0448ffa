/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of compat.h, for the one file that gets contiguous buffers (it has a
 * variable): what differs from kernel to kernel, probed.
 */
#ifndef COMPAT_CMA_H
#define COMPAT_CMA_H

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>

#include "cma_alloc/cma_alloc.h"

/*
 * A buffer from the contiguous areas, as drivers get it. Until v5.10 a header
 * tells the function, which is not exported, but kallsyms_lookup_name() was then
 * (v5.7 took that back). Later there is the DMA mapping, which takes the areas
 * for what is larger than a page, and aligns a buffer to its size.
 */
#if defined(CONFIG_DMA_CMA) && !__has_include("linux/dma-contiguous.h")
#include <linux/dma-mapping.h>
#include <linux/platform_device.h>
#define COMPAT_CMA_ALIGN_FOLLOWS	1
static struct platform_device *compat_cma_device;

static inline void compat_cma_exit(void)
{
	platform_device_unregister(compat_cma_device);
}

static inline int compat_cma_init(void)
{
	int err;

	compat_cma_device = platform_device_register_simple(KBUILD_MODNAME, -1,
							    NULL, 0);
	if (IS_ERR(compat_cma_device))
		return PTR_ERR(compat_cma_device);
	err = dma_set_mask_and_coherent(&compat_cma_device->dev,
					DMA_BIT_MASK(64));
	if (err)
		compat_cma_exit();
	return err;
}

static inline int compat_cma_alloc(struct cma_alloc_buffer *buffer,
				   unsigned int pages, unsigned int align)
{
	buffer->pages = pages;
	buffer->cookie = dma_alloc_attrs(&compat_cma_device->dev,
					 (size_t)pages << PAGE_SHIFT,
					 &buffer->at,
					 GFP_KERNEL | __GFP_NORETRY |
					 __GFP_NOWARN,
					 DMA_ATTR_NO_KERNEL_MAPPING);
	return buffer->cookie ? 0 : -ENOMEM;
}

static inline void compat_cma_free(struct cma_alloc_buffer *buffer)
{
	dma_free_attrs(&compat_cma_device->dev,
		       (size_t)buffer->pages << PAGE_SHIFT, buffer->cookie,
		       buffer->at, DMA_ATTR_NO_KERNEL_MAPPING);
}

static inline unsigned long compat_cma_pfn(const struct cma_alloc_buffer *buffer)
{
	return buffer->at >> PAGE_SHIFT;
}
#else
#if defined(CONFIG_DMA_CMA) || defined(CONFIG_CMA)
#if __has_include("linux/dma-contiguous.h") && \
	!__has_include("linux/sched/mm.h")
#include <linux/dma-contiguous.h>
#include <linux/kallsyms.h>
#define COMPAT_CMA_BY_NAME
#endif
#endif
#define COMPAT_CMA_ALIGN_FOLLOWS	0
#ifdef COMPAT_CMA_BY_NAME
static typeof(dma_alloc_from_contiguous) *compat_cma_get;
static typeof(dma_release_from_contiguous) *compat_cma_put;

static inline int compat_cma_init(void)
{
	compat_cma_get =
		(void *)kallsyms_lookup_name("dma_alloc_from_contiguous");
	compat_cma_put =
		(void *)kallsyms_lookup_name("dma_release_from_contiguous");
	return compat_cma_get && compat_cma_put ? 0 : -EOPNOTSUPP;
}

static inline int compat_cma_alloc(struct cma_alloc_buffer *buffer,
				   unsigned int pages, unsigned int align)
{
	buffer->pages = pages;
	buffer->cookie = compat_cma_get(NULL, pages, align);
	return buffer->cookie ? 0 : -ENOMEM;
}

static inline void compat_cma_free(struct cma_alloc_buffer *buffer)
{
	compat_cma_put(NULL, buffer->cookie, buffer->pages);
}
#else
static inline int compat_cma_init(void)
{
	return -EOPNOTSUPP;
}

static inline int compat_cma_alloc(struct cma_alloc_buffer *buffer,
				   unsigned int pages, unsigned int align)
{
	return -EOPNOTSUPP;
}

static inline void compat_cma_free(struct cma_alloc_buffer *buffer)
{
}
#endif

static inline void compat_cma_exit(void)
{
}

static inline unsigned long compat_cma_pfn(const struct cma_alloc_buffer *buffer)
{
	return page_to_pfn((struct page *)buffer->cookie);
}
#endif

#endif
