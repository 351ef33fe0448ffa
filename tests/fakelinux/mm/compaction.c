// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

static int scanned;

static int suitable(int order)
{
	return order > 0;
}

/*
 * Scan one zone and migrate what is found.
 */
int compact_zone(int order)
{
	int moved = 0;

	if (!suitable(order))
		return 0;

	for (int pfn = 0; pfn < 1 << order; pfn++) {
		scanned++;
		if (migrate_page(pfn, pfn + 1))
			continue;
		moved++;
	}

	return moved;
}
