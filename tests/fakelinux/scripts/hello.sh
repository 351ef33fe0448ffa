#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A file that must keep its mode.
echo hello
