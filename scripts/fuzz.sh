#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other: fuzz.sh [TIME]
set -euo pipefail
time=${1:-20s}
cd "$(dirname "$0")/.."

# go test -list prints the targets of a package, then its "ok" line.
go test -list '^Fuzz' ./... | awk '/^Fuzz/ {n[++i]=$1} /^ok/ {for (j=1; j<=i; j++) print $2, n[j]; i=0}' |
	while read -r package target; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" </dev/null
	done
