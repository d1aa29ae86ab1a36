# WS402: `make` lists what can be made. Everything runs in a virtual environment that it makes itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Stock x402 clients want other versions of what we use.
X402 ?= .venv-x402
# The JavaScript package, and what its own tests need.
SDK := sdk/js
# Most tests wait for blocks and clocks more than they compute.
WORKERS ?= 4
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' app/ws402/__init__.py)
# The chart has a version of its own.
CHART_VERSION := $(shell sed -n 's/^version: *//p' charts/ws402/Chart.yaml)
# The chart asks for its appVersion, which is the same.
TAG ?= $(VERSION)
# Registries take lower case only, which owners of repositories are not bound to.
override REGISTRY := $(shell echo '$(REGISTRY)' | tr A-Z a-z)
# A release's reproducible files carry the time of their commit.
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
SUITES := not anvil and not postgres and not browser and not slow and not solana and not vault and not aws and not prometheus and not otlp and not cluster and not x402 and not keys and not sdk
MONEY_PATH := ledger intake refunds watch
.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all test-anvil test-postgres test-browser test-solana test-vault test-keys test-observability test-x402 test-sdk test-cluster test-slow pictures coverage lint format types bench docs reference sdk-size npm-package lock images push-images dist sbom chart-package push-chart release check-tag publish-files publish-npm sign kind-up kind-down clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP): requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing about $$(grep -c '^[a-z].*==' requirements/dev.txt) locked packages into $(VENV), which takes a minute or two, and more on a slow line:"
	@{ $(BIN)/python -m pip install --progress-bar off --require-hashes -r requirements/dev.txt; echo $$? >$(VENV)/install.status; } 2>&1 | \
	  tee $(VENV)/install.log | while read -r word package rest; do case "$$word" in \
	    Collecting) echo "  $$package" ;; Installing) echo "unpacking them, which takes most of the time" ;; esac; done; \
	  status=$$(cat $(VENV)/install.status); test "$$status" = 0 || { tail -n 20 $(VENV)/install.log >&2; exit "$$status"; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP) ## make the virtual environment

demo: $(STAMP) ## pay, stream and get a refund on an embedded chain (KEEP=1: then pay on its page)
	$(BIN)/ws402 demo $(if $(KEEP),--keep)

test: $(STAMP) ## the tests that need nothing but Python
	$(BIN)/pytest -n $(WORKERS) -m "$(SUITES)"

test-anvil: $(STAMP) ## tests on anvil (RPC_URL_BASE_SEPOLIA), some with PostgreSQL (DATABASE_URL)
	$(BIN)/pytest -m "anvil and not slow and not x402"

test-postgres: $(STAMP) ## tests on PostgreSQL (DATABASE_URL)
	$(BIN)/pytest -n $(WORKERS) -m "postgres and not anvil and not slow"

test-browser: $(STAMP) ## the checkout page in headless Chromium
	$(BIN)/pytest -m "browser and not slow"

test-solana: $(STAMP) ## tests on a Solana validator (SOLANA_RPC_URL)
	$(BIN)/pytest -n 2 -m "solana and not slow"

test-vault: $(STAMP) ## keys and secrets from Vault (VAULT_ADDR, VAULT_TOKEN) and AWS (AWS_ENDPOINT_URL)
	$(BIN)/pytest -m "(vault or aws) and not prometheus and not slow and not cluster"

test-keys: $(STAMP) ## keys at AWS KMS, Google, Azure and a PKCS#11 token (AWS_ENDPOINT_URL, GCPKMS_ENDPOINT, AZURE_KEYVAULT_URL, PKCS11_MODULE)
	$(BIN)/pytest -n 2 --dist loadfile -m "keys and not slow"

test-observability: $(STAMP) ## metrics, rules and traces (PROMETHEUS_URL, OTLP_HTTP_URL)
	$(BIN)/pytest -m "(prometheus or otlp) and not slow and not cluster"

$(X402)/.installed: tests/x402/requirements.txt
	@test -x $(X402)/bin/python || $(PYTHON) -m venv $(X402)
	@echo "installing stock x402 clients into $(X402) …"
	@$(X402)/bin/python -m pip install --quiet --require-hashes -r tests/x402/requirements.txt
	@touch $@

tests/x402/node_modules/.installed: tests/x402/package-lock.json
	@echo "installing stock clients into tests/x402/node_modules …"
	@npm ci --prefix tests/x402 --ignore-scripts --no-audit --no-fund --silent
	@touch $@

test-x402: $(STAMP) $(X402)/.installed tests/x402/node_modules/.installed ## unmodified x402 and MPP clients (Node 20), on the embedded chain and anvil (RPC_URL_BASE_SEPOLIA)
	WS402_X402_PYTHON=$(abspath $(X402)/bin/python) $(BIN)/pytest -n 2 --dist loadgroup -m "x402 and not slow"

$(SDK)/node_modules/.package-lock.json: $(SDK)/package-lock.json
	@echo "installing what the JavaScript package is built and tested with into $(SDK)/node_modules …"
	@cd $(SDK) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

test-sdk: $(STAMP) $(SDK)/node_modules/.package-lock.json ## the JavaScript package, with viem and @solana/kit on the embedded chains (Node 20.10, npm)
	$(BIN)/pytest -m "sdk and not browser and not slow"

sdk-size: $(SDK)/node_modules/.package-lock.json ## how large the JavaScript package is in a browser's bundle
	@cd $(SDK) && node build.mjs && node size.mjs

test-cluster: $(STAMP) ## the chart, installed on a cluster (KUBECONFIG)
	$(BIN)/pytest -m cluster

test-slow: $(STAMP) ## crash sweeps and races (each skips loudly without its services)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "slow and not cluster"

test-all: $(STAMP) ## every suite
	$(BIN)/pytest

pictures: $(STAMP) ## draw the documents' pictures anew, from the real page in Chromium
	WS402_PICTURES=$(CURDIR)/docs/images $(BIN)/pytest -q tests/server/static/test_readme.py

coverage: $(STAMP) ## what the gateway's tests reach of the money path: 95 % of each room, with PostgreSQL and Vault
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not anvil and not solana and not cluster" --cov --cov-report= tests/gateway
	@for room in $(MONEY_PATH); do \
	  echo "gateway/$$room"; $(BIN)/coverage report --include="app/ws402/gateway/$$room/*" --fail-under=95 || failed=1; \
	done; test -z "$$failed"

lint: $(STAMP) ## ruff, and the schema of the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(STAMP) ## let ruff rewrite the layout
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

bench: $(STAMP) ## measure CPU per operation and memory per session
	$(BIN)/python -m bench

lock: $(STAMP) ## resolve the requirements anew, with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra sentry --extra container pyproject.toml -o requirements/server.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra gateway --extra aws --extra sentry --extra container pyproject.toml -o requirements/gateway.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra gateway --extra aws --extra google --extra azure --extra pkcs11 --extra sentry --extra container pyproject.toml -o requirements/gateway-keepers.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --prerelease=if-necessary --generate-hashes --no-header --no-annotate --extra devchain --extra client --extra container pyproject.toml -o requirements/devchain.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --prerelease=if-necessary --generate-hashes --no-header --no-annotate --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate tests/x402/requirements.in -o tests/x402/requirements.txt

images: ## build the container images (docker, podman or buildah; TAG is the version)
	k8s/build-images $(TAG)

push-images: ## build for amd64 and arm64 by buildx, with provenance and SBOM, and push to REGISTRY
	@test -n "$(REGISTRY)" || { echo "set REGISTRY, such as ghcr.io/you" >&2; exit 1; }
	BUILDER="docker buildx build --platform linux/amd64,linux/arm64 --provenance=mode=max --sbom=true --push" \
	  REGISTRY=$(REGISTRY) k8s/build-images $(TAG)

docs: $(STAMP) ## check that the documents, the chart's README and schema, and the dashboards are what their sources say
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m charts.dashboards --check

reference: $(STAMP) ## make the reference of what Python programs use, from its docstrings, in dist/reference/
	$(BIN)/python docs/reference.py dist/reference

dist: $(STAMP) ## build the sdist and the wheel into dist/python/
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/hatchling build -d dist/python

npm-package: $(SDK)/node_modules/.package-lock.json ## build the JavaScript package into dist/npm/
	@mkdir -p dist/npm
	@# Provenance names the repository that it was built in.
	@test -z "$$GITHUB_REPOSITORY" || { cd $(SDK) && npm pkg set repository.type=git repository.directory=$(SDK) \
	  "repository.url=git+https://github.com/$$GITHUB_REPOSITORY.git"; }
	cd $(SDK) && node build.mjs && npm pack --silent --pack-destination ../../dist/npm

sbom: $(STAMP) ## write what each image and the package are made of, as CycloneDX, into dist/
	@mkdir -p dist
	@for each in server gateway devchain; do \
	  PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements requirements/$$each.txt --pyproject pyproject.toml --output-reproducible \
	    --validate -o dist/ws402-$$each-$(VERSION).cdx.json && echo "dist/ws402-$$each-$(VERSION).cdx.json" || exit 1; \
	done

chart-package: ## package the chart into dist/ (helm)
	helm package charts/ws402 -d dist

push-chart: chart-package ## push the chart to REGISTRY as an OCI artifact
	@test -n "$(REGISTRY)" || { echo "set REGISTRY, such as ghcr.io/you" >&2; exit 1; }
	helm push dist/ws402-$(CHART_VERSION).tgz oci://$(REGISTRY)/charts

release: dist npm-package sbom chart-package ## all files of a release, and their checksums, in dist/
	cd dist && sha256sum python/ws402-$(VERSION)* npm/ws402-client-$(VERSION).tgz ws402-$(CHART_VERSION).tgz ws402-*-$(VERSION).cdx.json >SHA256SUMS

check-tag: ## fail unless TAG is v and the version
	@test "$(TAG)" = "v$(VERSION)" || { echo "the tag $(TAG) is not v$(VERSION), the version in app/ws402/__init__.py" >&2; exit 1; }

publish-files: check-tag ## make the release TAG on GitHub, with all files of dist/ (gh)
	gh release create "$(TAG)" --verify-tag --generate-notes $$(find dist -type f)

publish-npm: ## give dist/npm/ to npm, with provenance (in CI; NPM_FLAGS=--dry-run tries it)
	npm publish dist/npm/ws402-client-$(VERSION).tgz --access public --provenance $(NPM_FLAGS)

sign: ## sign dist/SHA256SUMS and the pushed images by cosign, without a key (in CI)
	@test -n "$(REGISTRY)" || { echo "set REGISTRY, such as ghcr.io/you" >&2; exit 1; }
	cosign sign-blob --yes --bundle dist/SHA256SUMS.sigstore.json dist/SHA256SUMS
	@for each in server gateway devchain; do cosign sign --yes --recursive $(REGISTRY)/ws402-$$each:$(TAG) || exit 1; done

kind-up: ## a Kubernetes cluster of kind, with our images in it and services to develop against
	k8s/kind-up $(TAG)

kind-down: ## remove that cluster
	k8s/kind-down

clean: ## remove what was made
	rm -rf $(VENV) dist $(SDK)/dist $(SDK)/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
