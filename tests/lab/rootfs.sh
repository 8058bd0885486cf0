#!/usr/bin/env bash
# rootfs.sh DESTINATION
#
# Makes the root file system that every lab host is an overlay of: a minimal system with systemd, of the
# very distribution release that this machine runs, so that what was built here runs there. The mirror
# and proxy are this machine's own, asked of apt; none is named here, and none stays in the result.
set -euo pipefail
destination=$1
packages=systemd,systemd-sysv,dbus,iproute2,libnss-systemd
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
  awk -v suite="$suite" '$2 == suite { print $1; exit }')
[ -n "$mirror" ] || { echo "apt knows no mirror of $suite" >&2; exit 1; }
proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy)
[ -z "$proxy" ] || export http_proxy=$proxy

mkdir -p "$destination"
debootstrap --variant=minbase --include="$packages" "$suite" "$destination" "$mirror"

# Small, and nobody in particular.
rm -rf "$destination"/var/cache/apt/archives/*.deb "$destination"/var/lib/apt/lists/* \
  "$destination"/usr/share/{doc,man,info,locale}/*
rm -f "$destination"/etc/{hostname,resolv.conf} "$destination"/var/lib/dbus/machine-id
: >"$destination"/etc/machine-id
: >"$destination"/etc/apt/sources.list

# What makes no sense in a host that lives for a test.
for unit in systemd-networkd-wait-online.service systemd-timesyncd.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  getty@tty1.service console-getty.service; do
  ln -sf /dev/null "$destination/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$destination"/etc/systemd/system/default.target
