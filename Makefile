# `make help` lists the targets. Needed: Go, Python 3 with venv, make, and on the
# first run the network for Go modules and Envoy.

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME  ?= 20s
BENCHTIME ?= 200ms
DURATION  ?= 10m
PACKAGES  ?= ./...
FIRST     := $(if $(filter ./...,$(PACKAGES)),./e2e)

GO       ?= go
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
LDFLAGS  := -X github.com/stateful-route/stateful-route/internal/cli.version=$(VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build all programs and, where there is a C compiler, Envoy's module into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	@fastpath/module/build.sh $(CURDIR)/bin/libstateful_route.so

.PHONY: run
run: build ## demo pods, xds-server, extproc and a real Envoy on this machine; Ctrl-C stops all
	@exec bin/run $(RUNFLAGS)

# -count=1: the end-to-end tests depend on programs that the test cache does not see.
# ./e2e first: it takes longest and mostly waits, so that the others run beside it.
# E2E_PROGRAMS: where all test programs have what they start built, once.
.PHONY: test
test: ## every test that needs no container engine, the end-to-end tests included
	@$(GO) build -o bin/ ./internal/testrun
	E2E_PROGRAMS=$(CURDIR)/bin/test bin/testrun -count=1 -timeout 20m $(FIRST) $(PACKAGES)

.PHONY: race
race: ## the same with the race detector, also in the programs that the end-to-end tests start
	@$(GO) build -o bin/ ./internal/testrun
	E2E_RACE=1 E2E_PROGRAMS=$(CURDIR)/bin/test-race bin/testrun -race -count=1 -timeout 40m $(FIRST) $(PACKAGES)

.PHONY: model
model: ## the session table against a plain map, a million steps a strategy, with the race detector
	AFFINITY_STEPS=1000000 $(GO) test -race -count=1 -run TestModel -timeout 60m ./affinity

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: check-test
check-test: ## 1,000 configurations made at random that --check passes, each shown to a real Envoy; 100,000 to the rules of its API
	$(GO) test ./envoy -run 'TestRulesOf|TestEnvoyTakesWhat' -count=1 -v -timeout 60m -configurations 1000 -rapid.checks 100000

.PHONY: bench
bench: ## every Go benchmark for BENCHTIME (default 200ms), then the session table beside others
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(PACKAGES)
	$(GO) run ./bench/affinity

.PHONY: bench-sim
bench-sim: ## the balancing simulator's table
	$(GO) run ./bench/sim $(SIMFLAGS)

.PHONY: bench-fleet
bench-fleet: ## what a fleet of 1,000 services and 10,000 pods costs xds-server, and clients that hang the others
	$(GO) run ./bench/fleet $(FLEETFLAGS)

.PHONY: bench-replicas
bench-replicas: ## callouts of known and new sessions with the memory store and a Redis of this machine, at 1 and 3 replicas
	$(GO) run ./bench/replicas $(REPLICASFLAGS)

.PHONY: bench-path
bench-path: build ## what a request costs through plain Envoy, its peers and ours, in interleaved rounds; table and picture in out/
	$(GO) run ./bench/path $(PATHFLAGS)

.PHONY: rivals
rivals: build ## sessions under faults through HAProxy, NGINX, Envoy alone, Caddy and ours, half an hour; tables in out/rivals and docs/comparison.md
	bench/rivals/install.sh
	$(GO) run ./bench/rivals -docs docs $(RIVALSFLAGS)

.PHONY: affinity-sim
affinity-sim: ## what session tables break, at full size: 250,000 live sessions, a flood of 10M ids (an hour)
	$(GO) test ./bench/sim/affinity -count=1 -timeout 2h -v -run 'Broken|Flood' -live 250000

.PHONY: fault-test
fault-test: ## everything that may break is broken in turn under 500 requests/s, then DURATION (default 10m) of rest; table in out/
	$(GO) test ./e2e -run '^TestFaults$$' -count=1 -v -timeout 24h -args -faults $(DURATION) $(FAULTFLAGS)

.PHONY: hold-test
hold-test: ## a WebSocket, an event stream, a gRPC stream and a 100 MB upload held for DURATION (default 10m) while their pods drain; table in out/
	$(GO) test ./e2e -run '^TestHeldAndDrainedAround$$' -count=1 -v -timeout 24h -args -hold $(DURATION)

.PHONY: proof
proof: ## SCHEDULES (default 1000) of random faults at three replicas and their store; the answers of all form one history; tables in out/
	$(GO) test ./affinity/shared/proof -count=1 -v -timeout 24h -args -schedules $(or $(SCHEDULES),1000) $(PROOFFLAGS)

.PHONY: lint
lint: ## go vet, gofmt and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(GOLANGCI) run

.PHONY: compose-test
compose-test: ## the docker-compose set-up on a real container engine (root, Linux)
	scripts/compose-test.sh

.PHONY: clean
clean: ## remove what was built, and the installed Envoy
	rm -rf bin out .tools
