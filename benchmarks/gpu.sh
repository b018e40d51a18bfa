#!/usr/bin/env bash
# Everything that only a GPU can show, on a bare machine: CUDA 13, CMake, ninja, Python with PyTorch; no network, no Node.
#
#   benchmarks/gpu.sh [STAGE...]     default: all, in this order, after the build
#
#   bits      every kernel against the emulator, bit for bit (needs $HEED_GOLDEN, default build-gpu/golden, of golden.tar.xz there)
#   kernels_test  the tests of the kernels themselves on the device
#   ops       the tests of the op table on the device
#   sanitize  compute-sanitizer on a small case of every op, number type and kernel
#   models    the tests of whole models on the device: gradients, generation, bits
#   phases    a model's log-probabilities and a few steps of SFT, reward model and PPO-ptx through Node beside the CPU's
#             (build-gpu/node.tar.xz, see docs/cuda.md)
#   main      npm start on the device: all phases and their evaluation
#   steps     whole models: a training step, decoding, reward scoring, beside a plain PyTorch step
#   decode    products of few rows: weights streamed, of 16 bits and of 8
#   gemm      products beside PyTorch's
#   kernels   the other ops: bandwidth, attention beside PyTorch's
#   ncu       metrics of the products, and of the kernel that the table shows to be worst
#
# No stage begins or goes on after $HEED_SECONDS (default 585) from the start: what a call of ten minutes has time for.
# $OUT (default benchmarks/results/gpu) gets results.json, written anew after each stage and when the script is ended, and
# log.txt: kept as benchmarks/results/gpu-DATE-RUN-CHIP-COMMIT.json ($HEED_COMMIT where there is no git). HEED_GOOGLETEST
# names GoogleTest's sources where it is not installed (default build-gpu/googletest).
set -uo pipefail
cd "$(dirname "$0")/.."
self=$PWD/benchmarks/gpu.sh
OUT=${OUT:-benchmarks/results/gpu}
golden=${HEED_GOLDEN:-build-gpu/golden}
googletest=${HEED_GOOGLETEST:-build-gpu/googletest}
build=build/gpu
total=${HEED_SECONDS:-585}
programs=${HEED_CUDA_PROGRAMS:-$build}
export HEED_CUDA=${HEED_CUDA:-$PWD/$build/heed_cuda.so}
mkdir -p "$OUT" "$build"
log=$OUT/log.txt
export PYTHONUNBUFFERED=1 OUT
PATH=$PATH:/usr/local/cuda/bin

record() { python3 benchmarks/cuda/record.py "$OUT/results.json" "$@"; }
finish() { # finish NAME STATUS SECONDS: what there is of a stage, all of it or not
  [ -s "$build/$1.jsonl" ] && record "$1" "@$build/$1.jsonl"
  record stages "$1" "{\"rc\": $2, \"seconds\": $3}"
}
stage() { # stage NAME SECONDS COMMAND...
  local limit=$2 left=$((total - SECONDS)) rc
  name=$1 began=$SECONDS
  shift 2
  if [ "$left" -lt 5 ]; then
    echo "== $name: not begun, $total s are over"
    record stages "$name" '{"rc": null, "seconds": 0}'
    return
  fi
  echo "== $name"
  rm -f "$build/$name.jsonl"
  export LIMIT=$((limit < left ? limit : left))
  timeout -k 5 "$LIMIT" "$@" > >(tee -a "$log") 2>&1 &
  child=$!
  wait "$child"
  rc=$?
  child=
  finish "$name" "$rc" "$((SECONDS - began))"
  echo "== $name: $([ $rc = 0 ] && echo passed || echo "FAILED ($rc)"), $((SECONDS - began)) s"
}
cut() { # the script is ended: what there is of the stage is kept
  trap - TERM INT HUP
  if [ -n "${child:-}" ]; then
    kill "$child" 2>/dev/null
    finish "$name" 143 "$((SECONDS - began))"
  fi
  exit 143
}

build() {
  local options=(-S . -B "$build" -G Ninja -DHEED_ADDON=OFF -DHEED_CUDA=ON -DHEED_TESTS=ON -DCMAKE_BUILD_TYPE=Release
    -DHEED_CUDA_ARCHITECTURES=90a-real -DHEED_LEVELS=portable
    -DCMAKE_CUDA_FLAGS=-Xptxas=-v)
  [ -d "$googletest" ] && options+=(-DHEED_GOOGLETEST="$PWD/$googletest")
  cmake "${options[@]}" >"$build/cmake.log" 2>&1 || { tail -n 30 "$build/cmake.log"; return 1; }
  ninja -C "$build" -k 0 heed_cuda heed_cuda_bench cuda_bits cuda_device_test cuda_device_ops_test model_test bench_model >"$build/build.log" 2>&1
  local rc=$?
  grep -E 'error|warning|[1-9][0-9]* bytes spill|FAILED' "$build/build.log" | head -n 40
  return $rc
}
bits() { # each case in a process of its own: one that hangs or faults leaves the others alone
  local lines=$build/bits.jsonl
  "$programs/cuda_bits" list | xargs -P 8 -I{} sh -c \
    'timeout --foreground 20 "$1" compare "$2" {} 2>&1 || [ $? -le 1 ] || echo "{\"case\": \"{}\", \"equal\": false, \"error\": \"no answer\"}"' \
    sh "$programs/cuda_bits" "$golden" >"$lines"
  grep -v '"equal": true' "$lines" | sort
  echo "$(grep -c '"equal": true' "$lines") of $("$programs/cuda_bits" list | wc -l) cases have the emulator's bits"
  ! grep -q '"equal": false' "$lines" && [ -s "$lines" ]
}
models() {
  HEED_TEST_DEVICE=cuda "$programs/model_test" --gtest_brief=1 --gtest_filter='-Memory*:*Memory.*'
}
steps() {
  local lines=$build/steps.jsonl
  timeout --foreground 80 "$programs/bench_model" cuda bf16 step-124m decode-124m-1 decode-124m-64 score-124m \
    step-0.5b decode-1.5b-1 decode-1.5b-64 step-1.5b score-1.5b | tee "$lines"
  timeout --foreground 40 python3 benchmarks/cuda/step.py | tee -a "$lines"
  ! grep -q '"error"' "$lines" && [ -s "$lines" ]
}
find_node() { # what is carried, with all that it needs of the repository, else the machine's own
  [ -e dist/lib/index.js ] || tar -xJf build-gpu/node.tar.xz || return 1
  if [ -x build-gpu/node ]; then echo build-gpu/node; else command -v node; fi
}
phases() {
  local lines=$build/phases.jsonl node
  node=$(find_node) || return 1
  # shellcheck disable=SC2086
  "$node" benchmarks/cuda/phases.mjs ${HEED_PHASES:-} | tee "$lines"
  return "${PIPESTATUS[0]}"
}
main() { # HEED_MAIN: more options, such as --set ppo.iterations=2
  local node run=$build/align rc
  node=$(find_node) || return 1
  rm -rf "$run"
  # Ended in time to say how far it came.
  # shellcheck disable=SC2086
  timeout --foreground -k 4 "$((${LIMIT:-3600} - 10))" "$node" dist/lib/cli/main.js align --device cuda --out "$run" ${HEED_MAIN:-}
  rc=$?
  "$node" benchmarks/cuda/main.mjs "$run" >"$build/main.jsonl" || return 1
  return "$rc"
}
sanitize() { # each case in a process of its own; of the products, the small ones, by every kernel. HEED_SANITIZE: others
  local lines=$build/sanitize.jsonl
  for tool in memcheck racecheck; do
    "$programs/cuda_bits" list | grep -E "${HEED_SANITIZE:-^gemm_(.*_(even|tiny)|narrow\.)|^[^g]|^ge[^m]}" | xargs -P 8 -I{} sh -c '
      out=$(timeout --foreground 60 compute-sanitizer --tool "$1" --error-exitcode 9 "$2" compare "$3" "{}" 2>&1); rc=$?
      [ $rc = 0 ] || echo "$out" | tail -n 15 >&2
      echo "{\"case\": \"{}\", \"tool\": \"$1\", \"rc\": $rc}"' sh "$tool" "$programs/cuda_bits" "$golden"
  done >"$lines"
  grep -v '"rc": 0' "$lines" | sort
  echo "$(grep -c '"rc": 0' "$lines") of $(wc -l <"$lines") runs are clean"
  [ -s "$lines" ] && ! grep -qv '"rc": 0' "$lines"
}
profile() {
  local metrics=sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,gpu__time_duration.sum,sm__cycles_elapsed.avg
  metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed,lts__t_sectors.sum,smsp__cycles_active.avg
  metrics+=,l1tex__data_bank_conflicts_pipe_lsu.sum,sm__inst_executed_pipe_tensor.sum,smsp__inst_executed.sum
  # The launches between cudaProfilerStart and cudaProfilerStop: those of bench.py's profile.
  ncu --clock-control none --metrics "$metrics" --profile-from-start off --csv \
    python3 benchmarks/cuda/bench.py "$build" profile | tee "$build/ncu.csv" | grep -v '^==' | tail -n 90
  local rc=${PIPESTATUS[0]}
  python3 benchmarks/cuda/record.py --csv "$build/ncu.csv" >"$build/ncu.jsonl"
  return "$rc"
}

run() {
  case $1 in
    bits) stage bits 90 "$self" --only bits ;;
    kernels_test) stage kernels_test 60 "$programs/cuda_device_test" --gtest_brief=1 ;;
    ops) stage ops 90 "$programs/cuda_device_ops_test" --gtest_brief=1 ;;
    sanitize) stage sanitize 100 "$self" --only sanitize ;;
    models) stage models 60 "$self" --only models ;;
    phases) stage phases 90 "$self" --only phases ;;
    main) stage main 150 "$self" --only main ;;
    steps) stage steps 100 "$self" --only steps ;;
    decode) stage decode 60 python3 benchmarks/cuda/bench.py "$build" decode ;;
    gemm) stage gemm 60 python3 benchmarks/cuda/bench.py "$build" gemm ;;
    kernels) stage kernels 60 python3 benchmarks/cuda/bench.py "$build" kernels ;;
    ncu) stage ncu 60 "$self" --only profile ;;
    *) echo "unknown stage: $1" ;;
  esac
}

if [ "${1:-}" = --only ]; then # a stage of several commands, as a program with a time limit
  "$2"
  exit
fi
: >"$log"
trap cut TERM INT HUP
[ -e "$golden" ] || [ ! -e build-gpu/golden.tar.xz ] || tar -C build-gpu -xJf build-gpu/golden.tar.xz
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader | tee -a "$log"
IFS=, read -r gpu driver _ <"$log"
record machine "{\"gpu\": \"$gpu\", \"driver\": \"${driver# }\",
  \"date\": \"$(date +%F)\", \"commit\": \"${HEED_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}\"}"
[ -n "${HEED_CUDA_PROGRAMS:-}" ] || stage build 240 "$self" --only build
for one in ${*:-bits kernels_test ops sanitize models phases main steps decode gemm kernels ncu}; do run "$one"; done
echo "== summary"
record
