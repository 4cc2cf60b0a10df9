.DEFAULT_GOAL := help
.PHONY: demo test lint vuln bench microbench crash chaos build fuzz help

# What has benchmarks of its own; the first four are store, signatures, lanes, envelope.
MICROBENCH := ./store/sqlite ./sign ./internal/window ./internal/callback ./internal/outbound ./internal/api
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

demo: ## Show it: gateway, scanner and a small web shop that gets called back
	@scripts/setup.sh clamd
	@go build -o .tools/bin/ringback ./cmd/ringback
	@exec .tools/bin/ringback demo

test: ## Run all tests, with the race detector
	@scripts/setup.sh cc clamd chromium node python3 openssl curl
	@go build -o .tools/bin/gotest ./scripts/gotest
	@.tools/bin/gotest -race -timeout 8m ./...

lint: ## Check style and the packages' import rules
	@scripts/setup.sh golangci-lint
	.tools/bin/golangci-lint run ./...

vuln: ## Look for known vulnerabilities in what is called (needs vuln.go.dev, or GOVULNDB)
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

bench: ## Measure throughput and latency beside their in-memory limit (ARGS=-quick)
	go run ./bench $(ARGS)

microbench: ## Measure store, signatures, lanes, envelope and HTTP one by one (COUNT=6)
	@mkdir -p .tools
	go test -run '^$$' -bench . -benchmem -count $(or $(COUNT),6) $(MICROBENCH) | tee .tools/microbench.txt
	go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da .tools/microbench.txt

crash: ## Kill a gateway under load 200 times, and look for what it lost (ARGS='-kills 20')
	go run ./bench/crash $(ARGS)

chaos: ## Break connections and kill for 10 minutes at 200 calls a second (ARGS='-chaos 1m')
	go run ./bench/crash -chaos 10m -rate 200 $(ARGS)

build: ## Build bin/ringback
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ringback ./cmd/ringback

fuzz: ## Run each fuzz target for 10 seconds (TIME=1m for longer)
	scripts/fuzz.sh $(TIME)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
