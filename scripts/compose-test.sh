#!/usr/bin/env bash
# Proves docker-compose.yaml on a container engine of its own, and leaves nothing
# behind: compose-test.sh (root on Linux; see design/compose.md).
#
# The engine runs twice, on the same images: first in the machine's network, with no
# bridge and no firewall rules, to get or make the images; then in a network
# namespace of its own, where its bridges, rules and published ports meet nothing
# that belongs to others, and end with it.
#
# COMPOSE_TEST_STANDINS=1 does not ask a registry for images.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
self=$PWD/scripts/compose-test.sh

say() { echo "compose-test: $*"; }
fail() { say "FAIL: $*" >&2; exit 1; }
trap 'say "line $LINENO: $BASH_COMMAND" >&2' ERR

# awaited runs a command so that a signal is acted on at once, and not when the
# command has ended.
awaited() {
	"$@" &
	running=$!
	wait "$running"
}

end_running() {
	if [ -n "${running:-}" ] && kill "$running" 2>/dev/null; then wait "$running" || true; fi
}

compose() { "${COMPOSE[@]}" "$@"; }

install_missing() {
	local want=() package program
	for package in "$@"; do
		program=${package#*=}
		command -v "$program" >/dev/null || want+=("${package%=*}")
	done
	[ ${#want[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || fail "not installed: ${want[*]}"
	say "installing ${want[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}" >"$WORK/apt.log" 2>&1 ||
		{ tail -5 "$WORK/apt.log" >&2; fail "apt-get install ${want[*]}"; }
}

# --- the engine ---------------------------------------------------------------

# start_engine [FLAG...]: a dockerd with everything it writes below $WORK. It is in
# a session of its own, so that Ctrl-C reaches it only through stop_engine.
start_engine() {
	setsid dockerd --config-file "$WORK/daemon.json" --data-root "$WORK/data" --exec-root "$WORK/exec" \
		--pidfile "$WORK/dockerd.pid" --host "$DOCKER_HOST" --cgroup-parent "$CGROUP" "$@" >>"$WORK/dockerd.log" 2>&1 &
	engine=$!
	for _ in $(seq 120); do
		docker version >/dev/null 2>&1 && return
		kill -0 "$engine" 2>/dev/null || break
		sleep 0.25
	done
	tail -20 "$WORK/dockerd.log" >&2
	fail "dockerd did not start"
}

# dockerd ends its containers itself; one that hangs is killed with its containerd.
stop_engine() {
	[ -n "${engine:-}" ] || return 0
	local containerd
	containerd=$(cat "$WORK/exec/containerd/containerd.pid" 2>/dev/null || true)
	kill "$engine" 2>/dev/null || true
	for _ in $(seq 120); do
		kill -0 "$engine" 2>/dev/null || break
		sleep 0.25
	done
	if kill -KILL "$engine" 2>/dev/null; then
		say "dockerd did not end by itself" >&2
		[ -z "$containerd" ] || kill -KILL "$containerd" 2>/dev/null || true
		# The containers that it left, and nothing else, are in our control group.
		cat /sys/fs/cgroup/{,*/}"$CGROUP"/*/cgroup.procs 2>/dev/null | sort -u | xargs -r kill -KILL 2>/dev/null || true
	fi
	wait "$engine" 2>/dev/null || true
	engine=
}

# --- images -------------------------------------------------------------------

images() {
	trap 'end_running; stop_engine' EXIT
	start_engine --bridge=none --iptables=false --ip-forward=false
	local image
	for image in $(sed -n 's/^ *image: \([^$]*\)$/\1/p' docker-compose.yaml) $(sed -n 's/^FROM \(.*\) AS .*/\1/p' Dockerfile); do
		if [ -z "${COMPOSE_TEST_STANDINS:-}" ] && awaited timeout 300 docker pull --quiet "$image" >"$WORK/pull.log" 2>&1; then
			say "image $image: pulled"
			continue
		fi
		# What the registry said is said once.
		[ -n "${COMPOSE_TEST_STANDINS:-}" ] || say "no image registry: $(tail -1 "$WORK/pull.log")"
		export COMPOSE_TEST_STANDINS=1
		stand_in "$image"
	done
	say "building both images with the Dockerfile"
	# Modules are fetched in the machine's network: this engine has none of its own.
	echo 'services: {xds-server: {build: {network: host}}, envoy: {build: {network: host}}}' >"$WORK/build.yaml"
	awaited compose -f "$WORK/build.yaml" build xds-server envoy >"$WORK/build.log" 2>&1 || { tail -20 "$WORK/build.log" >&2; fail "docker-compose build"; }
	docker image ls --filter "reference=stateful-route*:$VERSION" --format '{{.Repository}}:{{.Tag}} {{.Size}}' | sed 's/^/compose-test: built /'
}

# stand_in IMAGE: an image under the public name, made of this machine's programs.
stand_in() {
	local image=$1 name
	name=$(basename "${image%%:*}")
	ROOTFS=$WORK/rootfs/$name
	mkdir -p "$ROOTFS"/{bin,tmp,etc/ssl/certs}
	chmod 1777 "$ROOTFS/tmp"
	changes=()
	install_missing busybox-static=busybox
	"stand_in_$name"
	tar -C "$ROOTFS" -c . | docker import "${changes[@]}" - "$image" >/dev/null
	rm -rf "$ROOTFS"
	say "image $image: STAND-IN, $what"
}

# add PROGRAM [PATH]: copies a program and the libraries it loads into the image.
add() {
	local to=${2:-$1} library
	mkdir -p "$ROOTFS$(dirname "$to")"
	cp -L "$1" "$ROOTFS$to"
	# ldd fails for a static program, which needs nothing more.
	for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true); do
		mkdir -p "$ROOTFS$(dirname "$library")"
		cp -L "$library" "$ROOTFS$library"
	done
}

add_busybox() {
	add "$(command -v busybox)" /bin/busybox
	local tool
	for tool in "$@"; do ln -s busybox "$ROOTFS/bin/$tool"; done
}

# add_cc adds this machine's C compiler. It finds its parts by where it is.
add_cc() {
	command -v cc >/dev/null || install_missing gcc=cc libc6-dev=cc
	local part
	add "$(readlink -f "$(command -v cc)")" /usr/bin/cc
	for part in as ld; do add "$(command -v "$part")" "/usr/bin/$part"; done
	for part in cc1 collect2 lto-wrapper; do add "$(cc -print-prog-name="$part")"; done
	for part in liblto_plugin.so crti.o crtn.o crtbeginS.o crtendS.o libgcc.a libgcc_s.so libgcc_s.so.1 libc.so libc_nonshared.a libpthread.a; do
		add "$(cc -print-file-name="$part")"
	done
	mkdir -p "$ROOTFS/usr"
	cp -a --parents "$(dirname "$(cc -print-libgcc-file-name)")/include" "$ROOTFS/"
	cp -a /usr/include "$ROOTFS/usr/"
}

stand_in_golang() {
	add_busybox sh mkdir mv dirname rm
	add_cc
	mkdir -p "$ROOTFS/usr/local" "$ROOTFS/go"
	cp -a "$(go env GOROOT)" "$ROOTFS/usr/local/go"
	cp -L /etc/ssl/certs/ca-certificates.crt "$ROOTFS/etc/ssl/certs/"
	# The module cache of this machine first; what it lacks comes by the usual way.
	GOMODCACHE=$ROOTFS/go/pkg/mod GOFLAGS=-modcacherw GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" go mod download
	changes=(--change 'ENV PATH=/usr/local/go/bin:/usr/bin:/bin HOME=/root GOPATH=/go GOPROXY=off GOSUMDB=off GOTOOLCHAIN=local')
	what="$(go env GOVERSION) and the modules of this machine"
}

stand_in_envoy() {
	local program
	program=$(go run ./compose/standin/envoy)
	add_busybox grep
	add "$(command -v bash)" /bin/bash
	add "$program" /usr/local/bin/envoy
	changes=(--change 'ENV PATH=/usr/local/bin:/bin')
	what="Envoy $("$program" --version | sed -n 's|.*version: [0-9a-f]*/\([0-9.]*\)/.*|\1|p') as the end-to-end tests use it"
}

stand_in_prometheus() {
	install_missing prometheus=prometheus
	add_busybox wget
	add "$(command -v prometheus)" /bin/prometheus
	add "$(command -v promtool)" /bin/promtool
	mkdir "$ROOTFS/prometheus"
	chown 65534:65534 "$ROOTFS/prometheus"
	changes=(--change 'ENV PATH=/bin' --change 'ENTRYPOINT ["/bin/prometheus"]' --change 'USER 65534:65534' --change 'WORKDIR /prometheus')
	what="Prometheus $(prometheus --version 2>&1 | sed -n 's/^prometheus, version \([^ ]*\).*/\1/p') of this machine"
}

stand_in_valkey() {
	install_missing redis-server=redis-server redis-tools=redis-cli
	add_busybox sh grep
	add "$(command -v redis-server)" /usr/local/bin/valkey-server
	add "$(command -v redis-cli)" /usr/local/bin/valkey-cli
	mkdir "$ROOTFS/data"
	chown 999:999 "$ROOTFS/data"
	changes=(--change 'ENV PATH=/usr/local/bin:/bin' --change 'WORKDIR /data')
	what="Redis $(redis-server --version | sed -n 's/.* v=\([^ ]*\) .*/\1/p') of this machine"
}

stand_in_grafana() {
	add_busybox wget
	CGO_ENABLED=0 go build -o "$ROOTFS/bin/grafana" ./compose/standin/grafana
	changes=(--change 'ENV PATH=/bin' --change 'ENTRYPOINT ["/bin/grafana"]' --change 'USER 472:0')
	what="NO Grafana, but a checker of what is provisioned for it (compose/standin/grafana)"
}

# --- the proof ----------------------------------------------------------------

prove() {
	trap 'take_down' EXIT
	ip link set lo up
	start_engine
	say "bringing it up"
	awaited compose up --detach --no-build >"$WORK/up.log" 2>&1 || { tail -20 "$WORK/up.log" >&2; explain; fail "docker-compose up"; }
	await_health
	awaited "$WORK/check" -- "${COMPOSE[@]}" restart || { explain; fail "the checks"; }
}

await_health() {
	local unhealthy
	for _ in $(seq 240); do
		# An engine lists a container's health in its status: "Up 5 seconds (healthy)".
		unhealthy=$(docker ps --all --format '{{.Names}}: {{.Status}}' | grep -v '(healthy)' || true)
		if [ -z "$unhealthy" ]; then
			say "$(docker ps --quiet | wc -l) containers are healthy"
			return
		fi
		sleep 0.5
	done
	explain
	fail "not healthy: $unhealthy"
}

# explain shows what the containers said, for a reader who has no engine any more.
explain() {
	docker ps --all --quiet | xargs -r docker inspect --format '{{.Name}}: {{json .State.Health}}' >&2 || true
	compose logs --no-color --tail 15 >&2 || true
}

take_down() {
	end_running
	compose down --volumes --remove-orphans >"$WORK/down.log" 2>&1 || say "docker-compose down: $(tail -1 "$WORK/down.log")" >&2
	stop_engine
}

# --- the whole ----------------------------------------------------------------

# What an engine leaves outside of $WORK, beside what was there before.
outside=(/etc/docker /opt/containerd /run/docker)

all() {
	[ "$(uname)" = Linux ] && [ "$(id -u)" -eq 0 ] || fail "needs root on Linux: it starts a container engine of its own"
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/compose-test.XXXXXX")
	chmod 755 "$WORK"
	leftover=()
	for path in "${outside[@]}"; do [ -e "$path" ] || leftover+=("$path"); done
	trap 'clean_up' EXIT
	trap 'exit 130' INT TERM
	install_missing docker.io=dockerd docker.io=docker iptables=iptables iproute2=ip
	docker compose version >/dev/null 2>&1 || install_missing docker-compose=docker-compose
	export WORK CGROUP=compose-test-$$ DOCKER_HOST=unix://$WORK/docker.sock DOCKER_CONFIG=$WORK/docker
	export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
	VERSION=$(git rev-parse --short HEAD 2>/dev/null || echo test)
	export VERSION
	echo '{}' >"$WORK/daemon.json"
	before=$(state)
	CGO_ENABLED=0 go build -o "$WORK/check" ./compose/check
	# A mount namespace each: what the engine mounts ends with it.
	awaited unshare --mount --propagation private "$self" images
	awaited unshare --mount --propagation private --net "$self" prove
	clean_up
	trap - EXIT
	say "PASS"
}

# state is what this machine has that an engine could change.
state() {
	ip -o link | cut -d: -f2
	cat /proc/sys/net/ipv4/ip_forward
	if command -v iptables-save >/dev/null; then iptables-save | grep -v '^#' || true; fi
}

# clean_up ends with failure when something is left, so that nobody finds it later.
clean_up() {
	local status=$? left=
	trap '' INT TERM
	end_running
	find /sys/fs/cgroup -depth -type d -path "*/$CGROUP*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$WORK" "${leftover[@]}"
	[ ! -e "$WORK" ] || left+=" $WORK"
	left+=$(find /sys/fs/cgroup -type d -name "$CGROUP*" -printf ' %p' 2>/dev/null || true)
	left+=$(pgrep -f "$WORK" | sed 's/^/ process /' || true)
	left+=$(grep -o "$WORK[^ ]*" /proc/mounts | sed 's/^/ mount /' || true)
	[ -z "${before:-}" ] || [ "$before" = "$(state)" ] || left+=" network interfaces or firewall rules"
	[ -z "$left" ] || fail "left behind:$left"
	[ "$status" -eq 0 ] || { say "FAIL" >&2; exit "$status"; }
	say "nothing is left behind"
}

if command -v docker-compose >/dev/null; then COMPOSE=(docker-compose); else COMPOSE=(docker compose); fi
COMPOSE+=(--project-name stateful-route-test --project-directory . -f docker-compose.yaml)
case ${1:-all} in
images | prove)
	trap 'exit 143' TERM
	"$1"
	;;
all) all ;;
*) fail "unknown argument $1" ;;
esac
