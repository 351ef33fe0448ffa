/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_H
#define _LINUX_MM_H

#define PAGE_SHIFT 12

int compact_zone(int order);
int migrate_page(int from, int to);
int fork_one(void);

#endif
