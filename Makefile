.DEFAULT_GOAL := help
.PHONY: demo test lint bench crash build fuzz help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

demo: ## Show it: gateway, scanner and a small web shop that gets called back
	@scripts/setup.sh clamd
	go run ./cmd/ringback demo

test: ## Run all tests, with the race detector
	@scripts/setup.sh cc clamd chromium node
	@go build -o .tools/bin/gotest ./scripts/gotest
	@.tools/bin/gotest -race -timeout 8m ./...

lint: ## Check style and the packages' import rules
	@scripts/setup.sh golangci-lint
	.tools/bin/golangci-lint run ./...

bench: ## Measure throughput and latency beside their in-memory limit
	go run ./bench

crash: ## Kill a gateway under load 200 times, and look for what it lost (ARGS='-kills 20')
	go run ./bench/crash $(ARGS)

build: ## Build bin/ringback
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ringback ./cmd/ringback

fuzz: ## Run each fuzz target for 10 seconds (TIME=1m for longer)
	scripts/fuzz.sh $(TIME)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
