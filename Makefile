# What there is to run. Everything works on a plain checkout with Go, Node (20 or later, for the npm companion's tests)
# and npm, which brings the other runtimes.

FUZZTIME = 5m
# Twice as long, or as short as the fuzzing when that is shortened.
SOAKTIME = $(if $(filter 5m,$(FUZZTIME)),10m,$(FUZZTIME))
# How long workers of a cluster are killed and replaced, in each of two ways.
CHAOSTIME = $(if $(filter 5m,$(FUZZTIME)),60s,$(FUZZTIME))
GOTEST   = go test -timeout 15m

.PHONY: demo test test-matrix bench long soak setup

# A Node program and a Go program talking, and a route that moves from one to the other under load.
demo:
	go run ./examples/demo

test: node_modules/.package-lock.json
	$(GOTEST) -race ./...
	node --test lib/test/*.test.js

# The packages of npm that the tests have beside the companion, which itself needs none.
node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund --loglevel=error

# The same against every Node that is supported, and what there is for Bun and Deno; writes the table of README.md.
# Without the race detector, which has nothing to do with the peer.
test-matrix: setup node_modules/.package-lock.json
	go run ./scripts/matrix

# What a message costs, beside Node, Bun and Deno: docs/performance.md. Some rows: make bench BENCH="-only '^echo 64B'".
bench:
	go run ./bench $(BENCH)

# Every fuzz target for FUZZTIME, two at a time (some have a Node each), a cluster in chaos for CHAOSTIME, what is lost
# while workers and primaries are replaced (of which the suite has a taste; it cannot be shortened), and the soak.
# Most of what a new input gives rise to is not repeatable to the instruction, so that making it smaller is not worth the
# minute it may take.
long:
	@for pkg in $$(go list ./...); do \
		go test -list '^Fuzz' $$pkg | sed -n "s|^Fuzz|$$pkg Fuzz|p"; \
	done | xargs -P 2 -L 1 sh -c 'scripts/fuzz.sh "$$0" "$$1" $(FUZZTIME)'
	NODEIPC_CHAOS=$(CHAOSTIME) $(GOTEST) -count=1 -run TestChaos ./nodeipc/cluster
	$(if $(filter 5m,$(FUZZTIME)),NODEIPC_LONG=1 $(GOTEST) -timeout 30m -count=1 -v -run '^TestLoss$$|^TestScale$$' ./cmd/nodeipc ./nodeipc/cluster)
	@$(MAKE) --no-print-directory soak

# Node children and Go children come, talk and go for SOAKTIME; nothing may grow.
soak:
	go run ./bench/soak -time $(SOAKTIME)

# All runtimes of the tests, into .runtimes/, and the Go modules.
setup:
	go mod download
	scripts/runtimes.sh $$(scripts/runtimes.sh list)
