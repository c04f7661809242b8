# What you can do here. `make` alone lists it.
#
#   GO=go GOTEST="go test"    the tools, such as GOTEST="go test -v"
#   FUZZTIME=10s              for each fuzz target
#   VERSION=v1.2.3 COMMIT=…   what the binary says of itself; default: from git
#   BENCH="-rounds 9 -only G1,G2"

GO       ?= go
GOTEST   ?= $(GO) test
FUZZTIME ?= 10s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# What is ours alone; the rest under e2e and deploy needs daemons and tools.
units = ./cmd/... ./deploy/node ./gateway/... ./policy/... ./signer/... ./verifier/...
# What needs nothing but Go beside them.
quick = ./e2e/architecture ./e2e/bench ./e2e/tools/tally ./e2e/tools/vulns ./deploy/image

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## the whole story in a minute: push, check, seal, pull; and what is refused
	@dist/sealgate demo

build: ## dist/sealgate: static, and the same bytes wherever it is built
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o dist/sealgate ./cmd/sealgate

build-pkcs11: ## dist/sealgate-pkcs11: with hardware security modules, by cgo
	@CGO_ENABLED=1 $(GO) build -tags pkcs11key -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o dist/sealgate-pkcs11 ./cmd/sealgate

test: tools ## everything, with real clients and registries; installs what it needs
	$(GO) vet ./...
	$(GOTEST) -race -timeout 20m $(units)
	$(GOTEST) -count=1 -p 1 -timeout 60m ./e2e/... ./deploy/...

test-fast: ## the inner loop: no daemons, no other programs
	$(GOTEST) $(units) $(quick)

tools: ## install the programs that tests run: Debian packages, and Go programs into a cache folder
	@e2e/tools/install

lint: ## gofmt, vet, staticcheck, go.mod, known vulnerabilities
	@e2e/tools/install lint
	@e2e/tools/lint

conformance: tools ## the OCI conformance program against a bare registry and through the gateway
	@$(GO) run ./e2e/conformance

bench: tools ## the speed goals: distribution, nginx, ReverseProxy and us, interleaved
	@$(GO) run ./e2e/bench $(BENCH)

fuzz: ## every fuzz target for FUZZTIME
	@FUZZTIME=$(FUZZTIME) e2e/tools/fuzz

image: build ## dist/image: an OCI layout of ourselves, made without a network
	@$(GO) run ./deploy/image -version '$(VERSION)' -binary dist/sealgate -output dist/image

clean: ## remove dist
	rm -rf dist

.PHONY: help demo build build-pkcs11 test test-fast tools lint conformance bench fuzz image clean
