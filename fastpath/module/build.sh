#!/bin/sh
# Builds the module: build.sh OUTPUT [COMPILER FLAGS]. Without a C compiler it says so, and builds nothing.
set -eu
out=$1
shift
cd "$(dirname "$0")"
cc=${CC:-cc}
if ! command -v "$cc" >/dev/null 2>&1; then
	echo "no C compiler ($cc): $out is left out, and every request goes by extproc" >&2
	rm -f "$out"
	exit 0
fi
"$cc" -std=c11 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden "$@" -shared -pthread \
	-Wl,--unresolved-symbols=ignore-all -o "$out.new" ./*.c
mv "$out.new" "$out"
