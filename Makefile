# `make` lists the targets. Everything they do can be run by hand: the scripts are in deploy/local.
.DEFAULT_GOAL := help
SERVICES := deploy/local/services.sh

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the muster program, optimised (target/release/muster)
	cargo build --locked --release

.PHONY: install
install: ## Put the muster program on the PATH (in ~/.cargo/bin)
	cargo install --locked --path cli

.PHONY: test
test: ## Install what is missing, start PostgreSQL and RabbitMQ, run the checks and all tests
	@deploy/local/test.sh

.PHONY: properties
properties: MINUTES ?= 60
properties: ## Compare hostile imports with the oracle for MINUTES (60); needs the services (make services-up)
	@eval "$$($(SERVICES) urls)" && export TEST_DATABASE_URL TEST_AMQP_URL && MUSTER_MINUTES=$(MINUTES) \
	  cargo nextest run --locked --workspace --all-features --profile properties --no-capture any_import_comes any_import_can_be_undone

.PHONY: soak
soak: MINUTES ?= 10
soak: SEED ?= random
soak: EVERY ?= 3
soak: TENANTS ?= 4
soak: ## Kill everything at random for MINUTES (10) by SEED (random), and check every promise; KILLS, IMPORTS, RECORDS: targets
	cargo build --locked --release -p muster-cli -p muster-testkit --features muster-testkit/soak
	$${CARGO_TARGET_DIR:-target}/release/muster-soak --program $${CARGO_TARGET_DIR:-target}/release/muster \
	  --dir .services/soak-$$(date +%s) --minutes $(MINUTES) --seed $(SEED) --every $(EVERY) --tenants $(TENANTS) \
	  $(if $(KILLS),--kills $(KILLS)) $(if $(IMPORTS),--imports $(IMPORTS)) $(if $(RECORDS),--records $(RECORDS)) $(SOAK)

.PHONY: mutants
mutants: ## Bring each fixed fault back and check that its test fails; needs the services (make services-up)
	@eval "$$($(SERVICES) urls)" && export TEST_DATABASE_URL TEST_AMQP_URL && deploy/local/mutants.sh $(MUTANTS)

.PHONY: faults
faults: ## The slow faults, as root: power cuts, fail-over, partitions and more (FAULTS=name for one); needs the services
	@eval "$$($(SERVICES) urls)" && export TEST_DATABASE_URL TEST_AMQP_URL && deploy/local/faults.sh $(FAULTS)

.PHONY: memory
memory: ## Hold each process against its bound of memory with large loads: 10 GiB, bombs of 1 GiB, 1,000,000 records; needs the services
	@eval "$$($(SERVICES) urls)" && export TEST_DATABASE_URL TEST_AMQP_URL && MUSTER_MEMORY=long \
	  cargo nextest run --locked --workspace --all-features --profile properties --no-capture process::bounds

.PHONY: fuzz
fuzz: MINUTES ?= 10
fuzz: ## Look for bytes that break a reader, MINUTES (10) a target, and compare tables with Python's csv module; needs the services
	deploy/local/fuzz.sh $$(($(MINUTES) * 60))
	@eval "$$($(SERVICES) urls)" && export TEST_DATABASE_URL TEST_AMQP_URL && MUSTER_FUZZ_SECONDS=$$(($(MINUTES) * 60)) \
	  MUSTER_DIFFERENTIAL=100000 cargo nextest run --locked --workspace --all-features --profile properties --no-capture \
	  -E 'test(any_bytes_are) or test(any_text_is_a_key) or test(tables_are_read_as_python)'

.PHONY: sbom
sbom: ## List what the program is made of, as CycloneDX (target/sbom)
	@deploy/local/supply.sh sbom

.PHONY: auditable
auditable: ## Build the program with its list of dependencies inside (cargo auditable)
	@deploy/local/supply.sh auditable

.PHONY: secrets
secrets: ## Look for secrets in what is in the repository
	@deploy/local/supply.sh secrets

.PHONY: check
check: ## The static checks alone: format, clippy, crates and files, documents, scripts, bans, licences, sources
	@deploy/local/test.sh --check

.PHONY: advisories
advisories: ## Look the dependencies up in the advisory database (fetched from its git host)
	PATH="$${MUSTER_TOOLS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/muster/tools}/bin:$$PATH" cargo deny --all-features check advisories

.PHONY: services-up
services-up: ## Start the private PostgreSQL and RabbitMQ, and print their URLs (also in .services/env)
	@$(SERVICES) install
	@$(SERVICES) up

.PHONY: services-down
services-down: ## Stop them; their data stays in .services
	@$(SERVICES) down

.PHONY: sqlx-prepare
sqlx-prepare: ## Renew .sqlx from the migrations, by a scratch database
	@deploy/local/sqlx-prepare.sh

.PHONY: sqlx-check
sqlx-check: ## Check that .sqlx is up to date, by compiling the queries (make test asks the database alone)
	@deploy/local/sqlx-prepare.sh --check

.PHONY: bench
bench: ## Run the benchmarks
	cargo run --locked --release -p muster-bench -- run

.PHONY: bench-fair
bench-fair: ## Measure small imports next to a large one, and next to another tenant's flood and failing import (P8)
	cargo run --locked --release -p muster-bench -- fair

.PHONY: bench-pages
bench-pages: ## Measure every page of the console with 1,000 imports in the store and 1,000,000 records running
	cargo run --locked --release -p muster-bench -- pages

.PHONY: bench-inspect
bench-inspect: ## Measure how long `muster inspect` takes for files of 1,000,000 records
	cargo run --locked --release -p muster-bench -- inspect

.PHONY: bench-undo
bench-undo: ## Measure plans, before-images and undos beside the imports that they are about: six ratios (RECORDS=1000000)
	cargo run --locked --release -p muster-bench -- undo --records $(or $(RECORDS),1000000)

.PHONY: bench-engine
bench-engine: ## Time the record engine alone: validate, normalise, plan, encode and decode, a record at a time
	cargo bench --locked -p muster-domain --bench engine

.PHONY: clean
clean: ## Stop the services, remove their data and everything built
	@$(SERVICES) down --purge
	cargo clean
