#!/usr/bin/env bash
# torch 2.13.0 on a CPU: one seed gives other float32 normal numbers where torch takes its code for processors without
# AVX2 (here by ATEN_CPU_CAPABILITY=default): two values in five differ in their last bits, by up to about 2e-6. Uniform
# numbers are equal to the bit, and so are normal numbers in float64 and those of fewer than 16 values.
#
# Expected was: a seed gives one sequence on every x86-64 processor, since the generator is one of integers.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
cat >"$place/draw.py" <<'PYTHON'
import sys

import torch

drawn = {}
for name, draw in {
    "uniform": lambda g: torch.rand(100_000, generator=g),
    "normal": lambda g: torch.randn(100_000, generator=g),
    "normal float64": lambda g: torch.randn(100_000, generator=g, dtype=torch.float64),
    "15 normal": lambda g: torch.randn(15, generator=g),
}.items():
    drawn[name] = draw(torch.Generator().manual_seed(7))
torch.save(drawn, sys.argv[1])
PYTHON
cat >"$place/compare.py" <<'PYTHON'
import sys

import torch

one, other = (torch.load(file, weights_only=True) for file in sys.argv[1:])
for name in one:
    differs = (one[name] != other[name]).double().mean().item()
    most = (one[name].double() - other[name].double()).abs().max().item()
    print(f"{name}: {'equal' if not differs else 'about 0.4 differ' if 0.3 < differs < 0.5 and 0 < most < 4e-6 else differs}")
PYTHON
if ! grep -q avx2 /proc/cpuinfo; then
    echo "this processor has no AVX2: there is nothing to compare"
    exit 0
fi
ATEN_CPU_CAPABILITY=default "$place/venv/bin/python" "$place/draw.py" "$place/old"
ATEN_CPU_CAPABILITY=avx2 "$place/venv/bin/python" "$place/draw.py" "$place/avx2"
seen=$("$place/venv/bin/python" "$place/compare.py" "$place/old" "$place/avx2" | paste -sd ';')
expected="uniform: equal;normal: about 0.4 differ;normal float64: equal;15 normal: equal"
if [ "$seen" = "$expected" ]; then
    echo "SEEN: $seen"
else
    echo "CHANGED: $seen"
    exit 1
fi
