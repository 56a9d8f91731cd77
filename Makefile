# What a developer runs. `make help` lists the targets.

GO        ?= go
BIN       := bin
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION  ?= $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)
EMBED     := internal/agent/embedded/bin
ARCHES    ?= $(shell $(GO) env GOARCH)
LINT      := $(GO) tool -modfile=tools/go.mod golangci-lint
PKG       ?= ./...
TIMEOUT   ?= 25m
ENGINES   := scripts/engines.sh run
TEST      := scripts/test.sh -timeout=$(TIMEOUT)
IMAGE     ?= localhost/skerry-runner
PODMAN    ?= podman
IMAGEARGS ?=
comma     := ,

.PHONY: help build agents image demo test race lint bench check fuzz clean setup

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

agents: ## the agent for each architecture of $(ARCHES), where the runner's build picks it up
	@for arch in $(ARCHES); do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(EMBED)/skerry-agent-linux-$$arch ./cmd/skerry-agent || exit 1; \
	done

build: agents ## bin/skerry (with the agents inside) and bin/skerry-coordinator
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/skerry ./cmd/skerry
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/skerry-coordinator ./cmd/skerry-coordinator
	ln -f $(BIN)/skerry images/runner/skerry-linux-$(shell $(GO) env GOARCH)

image: agents ## $(IMAGE), the runner's own image, for $(ARCHES), by Podman (IMAGEARGS='--build-arg BASE=…')
	@for arch in $(ARCHES); do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o images/runner/skerry-linux-$$arch ./cmd/skerry || exit 1; \
	done
	$(PODMAN) build --format docker $(if $(word 2,$(ARCHES)),--manifest,-t) $(IMAGE) \
	  --platform $(subst $() ,$(comma),$(addprefix linux/,$(ARCHES))) $(IMAGEARGS) images/runner

demo: build ## register a runner with a coordinator made here and run a real pipeline
	scripts/demo.sh

setup: ## install what the tests need, where that is allowed
	scripts/setup.sh

test: setup agents ## every test, with Docker and Podman where they can be started (root)
	$(ENGINES) $(TEST) $(PKG)

race: setup agents ## the tests of concurrent code under the race detector, of the engines with Podman (CONTRIBUTING.md)
	ONLY=podman $(ENGINES) $(TEST) -race $(PKG)

lint: ## formatting, vet and golangci-lint
	@test -z "$$(gofmt -l cmd internal test)" || { gofmt -l cmd internal test; echo 'run gofmt -w on these'; exit 1; }
	$(LINT) run $(PKG)

bench: build ## the performance goals: name value unit floor ratio
	scripts/bench.sh

fuzz: ## every fuzz target for $(FUZZTIME) each
	scripts/fuzz.sh

check: lint test race ## all that has to be green before a change lands

clean:
	rm -rf $(BIN) $(EMBED)/skerry-agent-* images/runner/skerry-linux-*
