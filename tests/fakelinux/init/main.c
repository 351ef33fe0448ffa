// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

void start_kernel(void)
{
	for (;;)
		compact_zone(fork_one());
}
