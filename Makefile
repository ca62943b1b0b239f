# Everything goes into this folder: uv into .tools/, packages into .venv/. `make` alone lists the targets.

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv
READY := .venv/.ready
PIPELINES := layers/imagelake/imagelake/pipelines.json

# sam builds with the Python it finds on PATH, reports its use unless told not to, and keeps a file in the user's home.
ACTIVATED := PATH="$(CURDIR)/.venv/bin:$$PATH"
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/.aws-sam/settings

# $(call step,what,command): one line when it passes, what the command said when it does not.
step = printf '%-28s ' '$(1)'; if said=$$($(ACTIVATED) $(2) 2>&1); then echo ok; else echo FAILED; echo "$$said"; exit 1; fi
pytest = $(ACTIVATED) python -m pytest --quiet

.SILENT:
.NOTPARALLEL:
.PHONY: help run demo dashboard test check unit integration e2e faults alarms aws build format requirements pipelines schemas analytics governance metrics dashboards local-invoke clean
MAKEFLAGS += --no-print-directory

help: ## list the targets
	sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target does; do printf '  make %-14s %s\n' "$$target" "$$does"; done

run: $(PIPELINES) ## start the local lake and keep it running until Ctrl-C
	exec env $(ACTIVATED) python -m local run # in the shell's place: what ends make ends the lake

demo: $(PIPELINES) ## start the local lake, show what it does, stop
	exec env $(ACTIVATED) python -m local demo

dashboard: $(READY) ## draw the analysts' dashboard of a made-up week into .local/dashboard/
	$(ACTIVATED) python -m tools.dashboard

test: $(READY) ## all checks and all tests, stopping at the first that fails
	start=$$(date +%s); \
	for stage in check unit integration e2e; do echo "== $$stage"; $(MAKE) $$stage || exit 1; done; \
	echo "check, unit, integration and e2e passed in $$(($$(date +%s) - start)) s"

check: $(READY) ## lint, formatting, types, import directions, pinned packages, template
	$(call step,ruff check,ruff check)
	$(call step,ruff format,ruff format --check)
	$(call step,mypy,mypy)
	$(call step,import directions,lint-imports --no-cache)
	$(call step,lock as declared,$(UV) lock --check --offline)
	$(call step,requirements as locked,sh tools/requirements.sh $(UV) --check)
	$(call step,pipelines as in their file,python -m tools.pipelines --check)
	$(call step,schemas as in models,python -m tools.event_schemas --check)
	$(call step,analytics as in its files,python -m tools.analytics_template --check)
	$(call step,grants as in their file,python -m tools.governance --check)
	$(call step,metrics as in their registry,python -m tools.metrics --check)
	$(call step,dashboards as in their files,python -m tools.cloudwatch --check)
	$(call step,template,python -m tools.check_template)

unit: $(READY) ## tests of single modules
	$(pytest) tests/unit

integration: $(READY) ## tests of functions and template together, in process
	$(pytest) --numprocesses auto --maxprocesses 4 --dist worksteal tests/integration

e2e: $(READY) ## tests against a running local lake
	$(pytest) tests/e2e

faults: $(READY) ## the deployed lake under faults, at length: make faults IMAGES=2000 SEED=7
	IMAGES="$(or $(IMAGES),2000)" SEED="$(or $(SEED),1)" $(ACTIVATED) python -m pytest --quiet --capture=no tests/e2e/faults/test_faults.py

alarms: $(READY) ## the deployed lake without a fault, at length, while no alarm rings: make alarms IMAGES=500
	IMAGES="$(or $(IMAGES),500)" $(ACTIVATED) python -m pytest --quiet --capture=no tests/e2e/faults/test_clean_run.py

aws: $(READY) ## check a stack on AWS, with credentials of its account: make aws STACK=image-lake
	STACK="$(STACK)" $(ACTIVATED) python -m pytest --quiet -rs tests/aws

build: $(PIPELINES) ## build functions and layers for AWS, and print their sizes
	$(call step,sam build,sam build)
	$(ACTIVATED) python -m tools.package_sizes

format: $(READY) ## fix formatting, imports and what ruff can fix
	$(ACTIVATED) ruff check --fix
	$(ACTIVATED) ruff format

requirements: $(READY) ## write the requirements.txt files that `sam build` installs, from uv.lock
	sh tools/requirements.sh $(UV)

pipelines: $(READY) ## check pipelines.yaml, and write the file that functions read from it
	$(ACTIVATED) python -m tools.pipelines

schemas: $(READY) ## write the JSON schemas of the events, from their models
	$(ACTIVATED) python -m tools.event_schemas

analytics: $(READY) ## write the stacks of views, named queries and dashboard from the files in analytics/
	$(ACTIVATED) python -m tools.analytics_template

governance: $(READY) ## check governance/grants.yaml, and write the stack of Lake Formation from it
	$(ACTIVATED) python -m tools.governance

metrics: $(READY) ## write docs/metrics.md from the registry, and print what its metrics cost
	$(ACTIVATED) python -m tools.metrics

dashboards: $(READY) ## write dashboards/, CloudWatch's of operators, from the registry of metrics
	$(ACTIVATED) python -m tools.cloudwatch

local-invoke: $(READY) ## run every function with its sample event in a container
	$(ACTIVATED) python -m local.invoke

clean: ## remove all that make installed, built or cached; keeps .local/
	rm -rf .venv .venv-lambda .tools .aws-sam .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PIPELINES): $(READY) pipelines.yaml
	$(ACTIVATED) python -m tools.pipelines

$(READY): uv.lock pyproject.toml .python-version tools/setup.sh Makefile
	sh tools/setup.sh $(UV_VERSION)
	touch $@
