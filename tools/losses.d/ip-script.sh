#!/bin/sh
# ip-script.sh NETNS OLD=NEW...   Moves devices with `ip -batch` and adds their addresses again: the usual idiom.
set -e
netns=$1
shift
there=
here=
for pair; do
	old=${pair%%=*} new=${pair#*=}
	here="$here
link set dev $old netns $netns name $new"
	there="$there
link set dev $new up"
	for address in $(ip -o address show dev "$old" scope global | awk '{ print $4 }'); do
		there="$there
address add $address dev $new"
	done
done
echo "$here" | ip -batch -
echo "$there" | ip -n "$netns" -batch -
