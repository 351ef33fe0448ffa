#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The guest's first process: file systems, network, SSH, then a shell on the console.
export PATH=/bin:/sbin HOME=/root TERM=linux ENV=/etc/shrc
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
hostname guest
network=none
if [ -e /sys/class/net/eth0 ]; then
	network=eth0
	ip link set lo up
	ip addr add 10.0.2.15/24 dev eth0
	ip link set eth0 up
	[ -e /etc/dropbear/dropbear_ed25519_host_key ] && dropbear -s -j -k -m -p 22
fi
echo "pinpage: guest ready network=$network"
while :; do
	setsid cttyhack sh
done
