#!/usr/bin/env bash
# Installs the peers that `make rivals` compares with: HAProxy and NGINX from Debian (root), Caddy
# as a Go program in .tools/, which takes minutes. One that cannot be installed is named as
# skipped in the table. NGINX=FILE names another nginx: `sticky` needs 1.29.6, which Debian has not.
set -uo pipefail
cd "$(dirname "$0")/../.."

bench/path/install.sh || echo "rivals: what is not installed is skipped" >&2
command -v redis-server >/dev/null || command -v valkey-server >/dev/null || scripts/test-deps.sh || true

caddy=v2.11.9
if [ -z "${CADDY:-}" ] && ! command -v caddy >/dev/null && [ ! -x .tools/caddy/caddy ]; then
	mkdir -p .tools/caddy
	# Outside of this module: what it needs is none of ours.
	(cd "$(mktemp -d)" && GOBIN="$OLDPWD/.tools/caddy" timeout 1800 "${GO:-go}" install "github.com/caddyserver/caddy/v2/cmd/caddy@$caddy") ||
		echo "rivals: caddy $caddy could not be built and is skipped" >&2
fi
exit 0
