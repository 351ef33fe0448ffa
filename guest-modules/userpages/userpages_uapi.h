/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that has pages, and what one process asks of another's.
 *
 *   userpages hold MIB NODE WAY	map and fill; on NODE alone unless it is -1
 *   userpages where PID ADDR PAGES	move_pages(2) that only asks
 *   userpages move PID ADDR PAGES NODE	move_pages(2)
 *   userpages migrate PID FROM TO	migrate_pages(2), between two nodes
 *   userpages pread FILE BYTES		so many bytes at each offset of standard input
 *
 * hold prints "held PID ADDR PAGES", then obeys signals: SIGUSR1, it looks at
 * its contents and prints "whole PAGES" or "bad PAGES"; SIGUSR2, it advises huge
 * pages and prints "advised ERRNO"; SIGTERM ends it. WAY is plain, huge (advised
 * before it is filled) or small (advised against).
 *
 * where and move print "result ERRNO RET", then "node N PAGES" and "errno E
 * PAGES" for what became of the pages; migrate prints "result ERRNO RET", RET
 * being the pages that could not be moved.
 *
 * pread prints "@OFFSET RET" on a line, RET bytes (an errno if negative) and a
 * newline, for each.
 */
