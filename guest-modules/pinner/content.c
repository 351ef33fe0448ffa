// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in a page: words that depend on the object and on their offset, so
 * that a page cut short, shifted or swapped with another one shows.
 */
#include <linux/bitops.h>
#include <linux/highmem.h>

#include "pinner.h"

#define PINNER_GOLDEN	0x9e3779b97f4a7c15ULL
#define PINNER_WORDS	(PAGE_SIZE / sizeof(u64))

/* The finalizer of splitmix64 */
static u64 pinner_mix(u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* splitmix64: the same sequence from the same seed, everywhere */
u64 pinner_random(u64 *state)
{
	*state += PINNER_GOLDEN;
	return pinner_mix(*state);
}

u64 pinner_content_seed(u64 seed, int handle)
{
	return pinner_mix(seed ^ pinner_mix((u64)handle));
}

static u64 pinner_word(u64 seed, unsigned int i)
{
	return pinner_mix(seed + (u64)(i + 1) * PINNER_GOLDEN);
}

static u64 pinner_sum(u64 sum, u64 word)
{
	return (rol64(sum, 23) ^ word) * PINNER_GOLDEN;
}

/* Fill a page: returns the checksum. */
u64 pinner_fill(struct page *page, u64 seed)
{
	u64 *words = kmap_local_page(page);
	u64 sum = seed;
	unsigned int i;

	for (i = 0; i < PINNER_WORDS; i++) {
		words[i] = pinner_word(seed, i);
		sum = pinner_sum(sum, words[i]);
	}
	kunmap_local(words);
	return sum;
}

/* Are the contents what was stored? @offset: of the first byte that isn't. */
bool pinner_whole(struct page *page, u64 seed, u64 sum, unsigned int *offset)
{
	u64 *words = kmap_local_page(page);
	u64 found = seed;
	unsigned int i, bad = PINNER_WORDS;

	for (i = 0; i < PINNER_WORDS; i++) {
		if (words[i] != pinner_word(seed, i) && bad == PINNER_WORDS)
			bad = i;
		found = pinner_sum(found, words[i]);
	}
	kunmap_local(words);
	*offset = bad * sizeof(u64);
	return bad == PINNER_WORDS && found == sum;
}
