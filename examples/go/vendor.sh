#!/bin/sh
# Copies the C sources into this folder, where cgo compiles them: vendor.sh [CSRC]. An update is the same command again.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
from=${1:-$here/../../csrc}

rm -f "$here"/*.c "$here"/*.h
for file in "$from"/*.c "$from"/*.h "$from"/../LICENSE "$from"/../LICENSE-MIT; do
	case $file in
	*/example.c) ;; # a program
	*) cp "$file" "$here" ;;
	esac
done
