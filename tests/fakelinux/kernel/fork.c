// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

int fork_one(void)
{
	return PAGE_SHIFT;
}
