# SPDX-License-Identifier: GPL-2.0-only
# Sourced by the scripts beside it: system packages and the virtual environment.
# Quick and silent when both are there.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$top/.venv

die() {
	printf '%s: %s\n' "$(basename "$0")" "$1" >&2
	exit 9
}

# wanted_packages [ARCH]...: the packages of ci/packages and this machine's QEMU, and what guests of
# other architectures need, one a line.
wanted_packages() {
	local arch
	for arch in "$@"; do
		case $(uname -m)/$arch in
		x86_64/arm64) printf '%s\n' gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm ;;
		aarch64/x86_64) printf '%s\n' gcc-x86-64-linux-gnu libc6-dev-amd64-cross qemu-system-x86 ;;
		esac
	done
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$top/ci/packages" | awk '{ print $1 }'
	case $(uname -m) in
	x86_64) echo qemu-system-x86 ;;
	aarch64) echo qemu-system-arm ;;
	*) die "this machine is $(uname -m); guests run on x86_64 and arm64 (aarch64) machines" ;;
	esac
}

missing_packages() {
	local package
	for package in $(wanted_packages "$@"); do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || echo "$package"
	done
}

can_be_root() {
	[ "$(id -u)" = 0 ] ||
		{ command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

# as_root COMMAND...: run it as root, through sudo if need be and if that can be had.
as_root() {
	can_be_root || return 1
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -- "$@"
	fi
}

# install_packages [ARCH]...: those that are missing.
install_packages() {
	command -v apt-get >/dev/null || die "apt-get is needed: this set-up is for Debian 12 and later"
	local missing
	missing=$(missing_packages "$@" | tr '\n' ' ')
	if [ -n "$missing" ]; then
		if can_be_root; then echo "installing: $missing" >&2; fi
		# shellcheck disable=SC2086 # one word a package
		if ! { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive \
			apt-get -q install -y --no-install-recommends $missing; } >&2; then
			die "these packages are missing and could not be installed; as root run:
  apt-get update && apt-get install --no-install-recommends $missing"
		fi
	fi
	# A kernel's source is downloaded as a package: that needs apt's lists, though no root.
	if [ -z "$(apt-cache show linux-source-6.12 2>/dev/null)" ]; then
		as_root apt-get -q update >&2 ||
			echo "note: apt knows no linux-source-6.12; 'apt-get update' as root may help," \
				"or give a tree with --tree" >&2
	fi
}

# install_python EXTRA: the package in a virtual environment of its own, EXTRA its extra or "".
install_python() {
	local stamp want
	stamp=$venv/.installed${1:+-$1}
	want=$(cat "$top/pyproject.toml" "$top/ci/common.sh" | sha256sum; python3 --version)
	[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && return
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		die "Python 3.11 or later is needed; $(python3 --version) is here"
	echo "installing the Python package in $venv" >&2
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv" ||
		die "no virtual environment could be made in $venv"
	"$venv/bin/pip" install -q --disable-pip-version-check -e "$top${1:+[$1]}" >&2 ||
		die "the Python package could not be installed (see above)"
	printf '%s\n' "$want" >"$stamp"
}
