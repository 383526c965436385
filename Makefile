# The verbs of Picket. Two of them do everything on a fresh Debian machine with Rust: `make demo` and `make test`.
#
# Compiled dependencies and tools live in PICKET_CACHE, outside the clone, so that a new clone builds quickly.

PICKET_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/picket
export CARGO_TARGET_DIR ?= $(PICKET_CACHE)/target
TOOLS := $(PICKET_CACHE)/tools
export PATH := $(TOOLS)/bin:$(PATH)
export PICKET_DUCKDB := $(TOOLS)/duckdb
export PICKET_PYSIGMA := $(TOOLS)/pysigma

BINARIES := -p picket-agent -p picket-collector -p picketctl -p picket-tests
NEXTEST_PROFILE := $(if $(CI),ci,default)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: build
build: deps ## all programs, everyday profile
	cargo build --quiet $(BINARIES)

.PHONY: demo
demo: build ## the main job on this host, from nothing; KEEP=1 leaves it running
	@$(CARGO_TARGET_DIR)/debug/picket-demo $(if $(KEEP),--keep)

.PHONY: check
check: deps deps-check check-object ## format, clippy, docs, licences and bans
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
	cargo deny --log-level error check bans licenses sources

.PHONY: check-object
check-object: deps-check ## the committed kernel object is what its sources compile to
	$(MAKE) --no-print-directory -C agent/ebpf check

.PHONY: test
test: deps deps-test build ## all tests; as root the privileged ones too; short forms of the slow suites
	cargo nextest run --workspace --profile $(NEXTEST_PROFILE)
	@if [ "$$(id -u)" = 0 ]; then \
	    cargo nextest run --workspace --profile privileged; \
	else \
	    echo "SKIPPED: the privileged tests (kernel sensor, containment as root) need root"; \
	fi
	@if [ "$$(id -u)" = 0 ]; then \
	    $(MAKE) --no-print-directory bench-sensor SHORT=1; \
	else \
	    echo "SKIPPED: the benchmark of the sensor (make bench-sensor) needs root"; \
	fi
	@if [ "$$(id -u)" = 0 ]; then \
	    $(MAKE) --no-print-directory test-logins SHORT=1; \
	else \
	    echo "SKIPPED: the logins by real programs (make test-logins) need root"; \
	fi
	@$(MAKE) --no-print-directory test-faults SHORT=1
	@$(MAKE) --no-print-directory test-packages SHORT=1
	@$(MAKE) --no-print-directory test-vm SHORT=1
	@$(MAKE) --no-print-directory bench SHORT=1
	@$(MAKE) --no-print-directory bench-ingest SHORT=1
	@$(MAKE) --no-print-directory bench-store SHORT=1
	@$(MAKE) --no-print-directory bench-containment SHORT=1 ONLY=fleet

.PHONY: test-vm
test-vm: build ## privileged tests on other kernels, in QEMU; SHORT=1 boots one kernel
	@packaging/prerequisites.sh vm
	@tests/vm/matrix.sh $(if $(SHORT),--short)

COVERAGE_LIST := $(or $(TESTS),tests/coverage/short.json)

.PHONY: coverage
coverage: build ## tests of attacks in a machine of its own, as root: TESTS=list.json plays that list (ONLY=T1053 LIMIT=N MINUTES=N JOBS=N FILES=DIR OUT=DIR); SHORT=1 plays two tests of ours
	@packaging/prerequisites.sh vm
	@$(if $(TESTS)$(SHORT),,echo "error: which tests? TESTS=list.json, or SHORT=1 for two of ours" >&2; exit 2;) \
	    tests/coverage/run.sh $(COVERAGE_LIST) $(if $(SHORT),--short)

RECORDED := $(or $(OUT),$(PICKET_CACHE)/coverage/hosts)

.PHONY: recordings
recordings: build ## days of a web, a database and a build host in a machine of its own, as root: JOBS=N at a time, OUT=DIR; ATTACKS=DIR (a run of make coverage) with TESTS=list.json plays those attacks to what the hosts learned
	@packaging/prerequisites.sh vm
	@[ -e $(RECORDED)/run.json ] || OUT=$(RECORDED) ALL_EVENTS=1 RENAMED= IDLE=5 JOBS=$(or $(JOBS),1) tests/coverage/run.sh tests/recordings/list.json
	@$(CARGO_TARGET_DIR)/debug/picket-eval hosts --recordings $(RECORDED) $(if $(ATTACKS),--attacks $(ATTACKS) --list $(TESTS)) $(if $(JSON),--json)

.PHONY: test-logins
test-logins: build ## a thousand logins by the programs that people use, as root; SHORT=1 plays fifty, SESSIONS=N as many; DEBIAN=trixie by those of another Debian, AUDIT=1 beside auditd
	@packaging/prerequisites.sh logins
	@$(if $(DEBIAN),packaging/prerequisites.sh vm && root=$$(tests/logins/debian.sh $(DEBIAN)) && PICKET_GROUND_ROOT=$$root) $(if $(AUDIT),PICKET_GROUND_AUDIT=1) tests/logins/ground.sh $(PICKET_CACHE)/logins $(CARGO_TARGET_DIR)/debug/picket-logins \
	    --sessions $(or $(SESSIONS),$(if $(SHORT),50,1000)) $(if $(AUDIT),--audit)

.PHONY: test-faults
test-faults: build ## random faults between real agents and collectors: nothing acknowledged is lost; SHORT=1 plays 24 rounds, ROUNDS=N as many, SEED=N those of a seed, KEEP=1 leaves what failed
	@$(CARGO_TARGET_DIR)/debug/picket-faults --seed $(or $(SEED),1) --rounds $(or $(ROUNDS),$(if $(SHORT),24,1000)) $(if $(KEEP),--keep)

PACKED := $(CARGO_TARGET_DIR)/package
PACKAGES := $(CARGO_TARGET_DIR)/packages

.PHONY: package packages
packages: package
package: deps ## deb and rpm of the release build, with SBOM, in $CARGO_TARGET_DIR/packages; RELEASE=N when the same version is packed again
	@packaging/prerequisites.sh package
	@PICKET_RELEASE=$(or $(RELEASE),1) packaging/packages.sh $(PACKAGES) "$$(packaging/build.sh $(PACKED))"

.PHONY: release
release: package ## packages in a signed repository for apt and dnf, in $CARGO_TARGET_DIR/repository; needs PICKET_SIGNING_KEY
	@packaging/prerequisites.sh repository
	@packaging/repository.sh $(CARGO_TARGET_DIR)/repository $(PACKAGES)

.PHONY: test-packages
test-packages: $(if $(SHORT),build,deps) ## the packages in a whole Debian (container, QEMU), and rpm in a root; SHORT=1 checks units, programs and contents, with the everyday build
ifdef SHORT
	@if packaging/prerequisites.sh package; then \
	    packaging/check-units.sh && packaging/packages.sh $(CARGO_TARGET_DIR)/packages-short $(CARGO_TARGET_DIR)/debug; \
	elif [ -n "$$CI" ]; then \
	    exit 1; \
	else \
	    echo "SKIPPED: the packages (make test-packages): what is named above is missing"; \
	fi
else
	@packaging/prerequisites.sh package
	@packaging/prerequisites.sh repository
	@packaging/prerequisites.sh vm
	@tests/packages/all.sh "$$(packaging/build.sh $(PACKED))"
endif

.PHONY: fuzz
fuzz: deps deps-test ## a million mutated inputs for each parser that has such a test (short form: make test); INPUTS=N as many
	PICKET_MUTATIONS=$(or $(INPUTS),1000000) PROPTEST_CASES=$(or $(INPUTS),1000000) cargo nextest run --workspace --profile fuzz

.PHONY: bench
bench: build ## figures; SHORT=1 takes under a minute, JSON=1 prints one object per line
	@$(CARGO_TARGET_DIR)/debug/picket-bench $(if $(SHORT),--short) $(if $(JSON),--json)

.PHONY: eval
eval: deps ## the scorer's models on the development data beside the project (../shared/data), with goals and baselines
	cargo run --quiet --release -p picket-tests --bin picket-eval -- development

.PHONY: noise
noise: build ## alerts in a day of a host, by rule: FILES='audit.log auth.log' are recordings of ordinary days (default: the OpenSSH sample of the development data)
	@$(CARGO_TARGET_DIR)/debug/picket-agent replay --json $(or $(FILES),../shared/data/recordings/loghub/OpenSSH_2k.log) | $(CARGO_TARGET_DIR)/debug/picket-eval noise

.PHONY: bench-sensor
bench-sensor: build ## figures of the kernel sensor, as root; SHORT=1 takes under a minute with the everyday build, else the release build
	@$(if $(SHORT),,cargo build --quiet --release -p picket-agent)
	@$(CARGO_TARGET_DIR)/debug/picket-bench-sensor $(if $(SHORT),--short,--agent $(CARGO_TARGET_DIR)/release/picket-agent) \
	    $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json)

.PHONY: bench-containment
bench-containment: build ## figures of containment, as root, in network namespaces; SHORT=1 takes under a minute; ONLY=isolate,policy,fleet, of which fleet needs no root; AGENTS=N simulated hosts
	@$(CARGO_TARGET_DIR)/debug/picket-bench-containment $(if $(SHORT),--short) $(if $(ONLY),--only $(ONLY)) $(if $(AGENTS),--agents $(AGENTS)) $(if $(JSON),--json)

.PHONY: bench-ingest
bench-ingest: build ## figures of the collector's ingest, by simulated agents; SHORT=1 takes under a minute with the everyday build, else the release build; AGENTS=N,N as many connected
	@$(if $(SHORT),,cargo build --quiet --release -p picket-collector -p picketctl -p picket-tests --bin picket-collector --bin picketctl --bin picket-bench-ingest)
	@$(CARGO_TARGET_DIR)/$(if $(SHORT),debug,release)/picket-bench-ingest $(if $(SHORT),--short) $(if $(ONLY),--only $(ONLY)) $(if $(AGENTS),--agents $(AGENTS)) $(if $(JSON),--json)

.PHONY: bench-store
bench-store: build ## size and speed of the store, filled with simulated hosts; COLUMNS=1 tells the columns; SHORT=1 takes under a minute with the everyday build, else the release build
	@$(if $(SHORT),,cargo build --quiet --release -p picket-collector -p picketctl -p picket-tests --bin picket-collector --bin picketctl --bin picket-bench-store)
	@$(CARGO_TARGET_DIR)/$(if $(SHORT),debug,release)/picket-bench-store $(if $(SHORT),--short) $(if $(COLUMNS),--columns) $(if $(JSON),--json)

.PHONY: deps
deps:
	@packaging/prerequisites.sh build

.PHONY: deps-check
deps-check:
	@packaging/prerequisites.sh check

.PHONY: deps-test
deps-test:
	@packaging/prerequisites.sh test
