#!/usr/bin/env bash
# Installs the proxies that `make bench-path` compares with, from Debian or Ubuntu (root).
# It starts none of them; one that is absent is named as skipped in the table.
set -euo pipefail

want=()
[ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || want+=(haproxy)
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || want+=(nginx-light)
if [ ${#want[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
	echo "bench/path: not installed: ${want[*]} (needs root and apt-get)" >&2
	exit 1
fi
# Debian starts what it installs unless this says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${want[@]}"
