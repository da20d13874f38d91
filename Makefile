# Signpost's commands. `make help` lists them; the work is done by scripts/, which say what each is for.
#
# One profile for everything, release: RocksDB takes long to compile, so it is compiled once, and what is tested is what
# ships. The target directory is shared between checkouts for the same reason; set CARGO_TARGET_DIR to have another.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

.PHONY: help deps build demo test framing upgrade clicks max-clicks leases allocations fuzz soak slow check bench bench-create bench-import bench-list bench-redirect bench-tls bench-keypool bench-log bench-recovery

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings: CARGO_TARGET_DIR; for demo DEMO_DIR, ADMIN_PORT, PROXY_PORT, KEYPOOL_PORT; for test ARGS='-p linklog'"

deps: ## Install the Debian packages the build needs, if any is missing
	@scripts/deps.sh

build: deps ## Build the release binaries into ./bin
	@scripts/build.sh

demo: build ## Run a fleet on loopback with real links, until Ctrl-C; data stays in ./.demo
	@scripts/demo.sh

test: build ## Run every test (one crate: make test ARGS='-p linklog')
	@scripts/test.sh $(ARGS)

framing: build ## Compare where nginx, HAProxy, h11 and Signpost see requests end (ONLY=TEXT picks cases)
	@ONLY='$(ONLY)' scripts/framing.sh

fuzz: ## Try arbitrary bytes on everything that reads bytes (MINUTES=10 in all; TARGET=request_head for one)
	@MINUTES='$(MINUTES)' TARGET='$(TARGET)' scripts/fuzz.sh

soak: build ## Break fleets for hours and check that nothing acknowledged is lost (HOURS=1 SEED=1)
	@$(foreach name,HOURS SEED ROUND_S,$(if $($(name)),$(name)=$($(name)))) scripts/soak.sh

upgrade: build ## Upgrade a fleet part by part from an earlier version under load (FROM=<tag or commit>; builds that one too)
	@FROM='$(FROM)' scripts/upgrade.sh

clicks: build ## Count a known number of redirects through kills, cuts and an outage, and compare (5 minutes)
	@scripts/clicks.sh

max-clicks: build ## Follow links that end with a number of clicks through kills and losses, and compare (1 minute)
	@scripts/max-clicks.sh

leases: build ## Lease a hundred million codes through kills, restores and splits of key pools (10 minutes; CODES=1000000)
	@$(if $(CODES),CODES=$(CODES)) scripts/leases.sh

allocations: build ## Count what running proxies allocate for a request of every kind (REQUESTS=1000000 LINKS=1000000)
	@$(foreach name,REQUESTS LINKS,$(if $($(name)),$(name)=$($(name)))) scripts/allocations.sh

check: deps ## Check formatting, lints, documentation, dependencies, scripts and units
	@scripts/check.sh

bench: build ## Measure redirects beside their peers (MODE=quick ROUNDS=5 SECONDS=8 ONLY=flat-out,open-loop …)
	@scripts/bench-peers.sh $(foreach name,MODE ROUNDS SECONDS LINKS LARGE_LINKS ONLY SERVERS SUFFIX HEADERS,$(if $($(name)),$(name)=$($(name))))

slow: build ## Measure what others notice of 10,000 slow clients (SLOW=10000), and the deadline for heads
	@$(if $(SLOW),SLOW=$(SLOW)) scripts/slow.sh

bench-create: build ## Measure creating links: latency at 500/s, highest rate, batches
	@scripts/bench-create.sh

bench-import: build ## Measure importing links with one proxy (LINKS=1000000 ROUNDS=3)
	@$(foreach name,LINKS ROUNDS,$(if $($(name)),$(name)=$($(name)))) scripts/bench-import.sh

bench-list: build ## Measure lists and searches over many links, and creates beside them (LINKS=10000000 RATE=20)
	@$(foreach name,LINKS RATE SECONDS_EACH,$(if $($(name)),$(name)=$($(name)))) scripts/bench-list.sh

bench-redirect: build ## Measure redirects: latency at 10,000/s from a proxy with a million links
	@scripts/bench-redirect.sh

bench-tls: ## Measure TLS handshakes with the OpenSSL of the system and with BoringSSL (ROUNDS=15 HANDSHAKES=2000; builds BoringSSL)
	@scripts/bench-tls.sh $(foreach name,ROUNDS HANDSHAKES,$(if $($(name)),$(name)=$($(name))))

bench-keypool: build ## Measure the key pool: codes per second, lease latency, bytes per code
	@scripts/bench-keypool.sh

bench-recovery: build ## Measure backup, restore and a proxy from nothing (LINKS=10000000)
	@$(foreach name,LINKS,$(if $($(name)),$(name)=$($(name)))) scripts/bench-recovery.sh

bench-log: deps ## Measure the log by itself: changes and applies per second, bytes on disk per link
	@scripts/bench-log.sh
