# Everything runs in .venv, which the first target that needs it makes.
# Another Python than the one found: make book PYTHON=/path/to/python3.12

BIN := .venv/bin
INSTALLED := .venv/.installed
SITE := _build/html/index.html
JOBS := $(shell [ "$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -ge 2 ] && echo 2 || echo 1)
STUDY ?= all
NOTEBOOKS := find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -print0

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PREFER_ENV_PATH := 1

.DEFAULT_GOAL := help
.PHONY: help book test test-faults tidy lab results bench lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

book: $(INSTALLED)  ## Run every chapter and build the site: _build/html/index.html
	$(BIN)/python tests/notebooks/run.py --scale live --into _build/executed
	rm -rf _build/source _build/html _build/.doctrees && mkdir -p _build/source
	cp -Rp book/. _build/source && cp -Rp _build/executed/. _build/source
	$(BIN)/python book/vendor.py _build/source
	$(BIN)/jupyter-book build _build/source --config _build/source/config.yml --path-output . -W -n --keep-going -q
	@echo "The site: $(CURDIR)/$(SITE)"

test: $(INSTALLED)  ## Lint, unit tests, the built pages, and every chapter at the smallest scale
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(NOTEBOOKS) | xargs -0 $(BIN)/nbstripout --keep-id --verify
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not faults"
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest tests/site
	$(BIN)/python tests/notebooks/run.py --scale smoke

test-faults: $(INSTALLED)  ## Kill, starve and damage studies in every way: a few minutes
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m faults

tidy: $(INSTALLED)  ## Format the code and strip the notebooks' outputs
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format
	$(NOTEBOOKS) | xargs -0 $(BIN)/nbstripout --keep-id

lab: .venv/.lab  ## Open the book's notebooks in JupyterLab
	$(BIN)/jupyter lab book

results: $(INSTALLED)  ## Record a study and rebuild the scorecard: make results STUDY=name
	$(BIN)/lth results run $(STUDY)
	$(BIN)/lth results

bench: $(INSTALLED)  ## Time the package beside a textbook loop: _build/bench.json
	$(BIN)/python tests/bench/run.py

lock:  ## Write requirements.lock anew (torch and torchvision stay as they are)
	rm -rf _build/lock && $(FIND_PYTHON) && "$$python" -m venv _build/lock
	grep -E '^torch(vision)?==' requirements.lock > _build/lock/torch.txt
	_build/lock/bin/pip install -c _build/lock/torch.txt '.[book,test]'
	(grep '^#' requirements.lock; _build/lock/bin/pip freeze --all --exclude pip --exclude lth_utils \
		| grep -Ev '^(nvidia|cuda|triton)' | sed 's/+cpu$$//') > _build/lock/new
	mv _build/lock/new requirements.lock

clean:  ## Remove what was built (.venv stays)
	rm -rf _build .pytest_cache .ruff_cache dist
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The lock fits one platform; elsewhere pip resolves the loose bounds.
$(INSTALLED): pyproject.toml requirements.lock
	@[ -x $(BIN)/python ] || { $(FIND_PYTHON) && "$$python" -m venv .venv; }
	@if $(BIN)/python -c 'import sys; sys.exit(sys.platform != "linux" or sys.version_info[:2] != (3, 11))'; then \
		$(BIN)/pip install -r requirements.lock && $(BIN)/pip install --no-deps -e .; \
	else \
		$(BIN)/pip install -e '.[book,test]'; \
	fi
	@touch $@

.venv/.lab: $(INSTALLED)
	$(BIN)/pip install -e '.[lab]'
	@touch $@

# Sets $$python. A name on the path may be a stub that runs nothing, and a system Python may lack
# what venv needs, so each candidate is asked.
FIND_PYTHON = { python=; for p in $(or $(PYTHON),python3.11 python3 python); do \
	"$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { python="$$p"; break; }; \
	done; [ -n "$$python" ] || { \
	echo "No Python 3.11 or newer with venv was found: install one, or name it with make PYTHON=/path/to/python3.11." >&2; \
	exit 1; }; }
