#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# ccache.sh COMPILER ARGUMENT...: a compiler behind ccache, in its depend mode, which saves the
# preprocessor. That mode does not see what a source takes in by .incbin, as piggy.S takes in the
# kernel: such a source, and whatever is no compilation, goes to the compiler itself.
for source; do :; done
case $source in
*.c | *.S) grep -qsF .incbin -- "$source" || exec ccache "$@" ;;
esac
exec "$@"
