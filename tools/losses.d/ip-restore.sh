#!/bin/sh
# ip-restore.sh NETNS OLD=NEW...   Moves devices; `ip address save` and `restore` carry the kernel's own messages over.
set -e
netns=$1
shift
saved=$(mktemp -d)
trap 'rm -r "$saved"' EXIT
for pair; do
	ip address save dev "${pair%%=*}" scope global >"$saved/${pair%%=*}"
done
for pair; do
	old=${pair%%=*} new=${pair#*=}
	ip link set dev "$old" netns "$netns" name "$new"
	ip -n "$netns" link set dev "$new" up
	ip -n "$netns" address restore <"$saved/$old"
done
