#!/usr/bin/env bash
# Installs what some tests need beyond Go, Python and make, where the package
# manager can: a Debian or Ubuntu machine and root. Elsewhere those tests are
# skipped, and `make test` counts them; with CI set, what is missing is an error.
set -euo pipefail

want=()
command -v prometheus >/dev/null && command -v promtool >/dev/null || want+=(prometheus)
command -v chromium >/dev/null || want+=(chromium)
command -v valkey-server >/dev/null || command -v redis-server >/dev/null || want+=(redis-server)
if [ ${#want[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
	echo "test-deps: not installed: ${want[*]} (needs root and apt-get)" >&2
	case ${CI:-false} in
	false) exit 0 ;;
	*) exit 1 ;;
	esac
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${want[@]}"
