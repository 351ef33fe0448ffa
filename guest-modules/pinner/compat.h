/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs from kernel to kernel. Nothing else in this folder looks at the
 * kernel's version or features. Probed, not compared by version, as series and
 * backports change what a kernel of a version has.
 */
#ifndef PINNER_COMPAT_H
#define PINNER_COMPAT_H

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sched.h>

/* Split from linux/sched.h in v4.11 */
#if __has_include("linux/sched/signal.h")
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#endif

/*
 * The pin page subsystem. The posted one has no PINPAGE_CONTRACT, and declares
 * neither of clear_pinpage() and unregister_pinpage(). It leaves the owner's
 * reference on a page that has moved to the owner, and forgets its registration
 * then. Contract 2 passes the reference on, and registers the new page.
 */
#if __has_include("linux/pinpage.h")
#include <linux/pinpage.h>
#ifndef PINPAGE_CONTRACT
int clear_pinpage(struct pinpage_system *psys, struct page *page);
int unregister_pinpage(struct pinpage_system *psys);
#define PINNER_HAS_PINPAGE	1
#define PINNER_PINPAGE_POSTED	1
#elif defined(CONFIG_PINPAGE)
#define PINNER_HAS_PINPAGE	1
#endif
#endif

#ifndef PINNER_HAS_PINPAGE
#define PINNER_HAS_PINPAGE	0
#endif
#ifndef PINNER_PINPAGE_POSTED
#define PINNER_PINPAGE_POSTED	0
#endif

#if PINNER_HAS_PINPAGE
/* Is this what set_pinpage() was given? As posted, there is no way to ask. */
static inline bool pinner_private_is(struct pinpage_system *psys,
				     struct page *page, void *private)
{
#if PINNER_PINPAGE_POSTED
	return true;
#else
	return general_page_private(psys, page) == private;
#endif
}
#endif

/* kmap_local_page() came with this file in v5.11 */
#if !__has_include("linux/highmem-internal.h")
#define kmap_local_page	kmap_atomic
#define kunmap_local	kunmap_atomic
#endif

#ifndef READ_ONCE
#define READ_ONCE(x)		ACCESS_ONCE(x)
#define WRITE_ONCE(x, val)	(ACCESS_ONCE(x) = (val))
#endif

/* MAX_ORDER was one more than the highest order until v6.4 */
#ifdef MAX_PAGE_ORDER
#define PINNER_MAX_ORDER	MAX_PAGE_ORDER
#else
#define PINNER_MAX_ORDER	(MAX_ORDER - 1)
#endif

/* Neither reclaim nor compact, wake nobody who does, spare the reserves */
#ifdef __GFP_RECLAIM
#define PINNER_GFP_CALM		0
#else
#define PINNER_GFP_CALM		__GFP_NO_KSWAPD
#endif
#define PINNER_GFP_ATTEMPT	(__GFP_HIGHMEM | __GFP_MOVABLE |	\
				 __GFP_NOWARN | __GFP_NORETRY |		\
				 __GFP_NOMEMALLOC | PINNER_GFP_CALM)

#endif
