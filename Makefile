# One command each, the same here and in continuous integration. Everything is installed into .venv.
PYTHON ?= python3
# Where a plain "torch" brings gigabytes of CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types clean

demo: $(VENV)/run.done
	$(BIN)/fedprllm study overview --out demo-run

test: $(VENV)/test.done
	$(BIN)/python -m pytest -q -n auto

lint: $(VENV)/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/test.done
	$(BIN)/mypy

$(VENV)/run.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/test.done: $(VENV)/run.done
	$(PIP) -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo-run
