#!/usr/bin/env bash
# Everything that only a GPU can show, on a bare machine: CUDA 13, CMake, ninja, Python with PyTorch; no network.
#
#   benchmarks/gpu.sh [STAGE...]     default: all, in this order
#
#   bits      every kernel against the emulator, bit for bit (needs $HEED_GOLDEN, default build-gpu/golden)
#   kernels_test  the tests of the kernels themselves on the device
#   ops       the tests of the op table on the device
#   models    the tests of whole models on the device: gradients, generation, bits
#   phases    a few steps of SFT, reward model and PPO-ptx through Node beside the CPU's (build-gpu/node.tar.xz, see docs/cuda.md)
#   steps     whole models: a training step, decoding, reward scoring, beside a plain PyTorch step
#   gemm      products beside PyTorch's
#   decode    products of few rows: weights streamed
#   kernels   the other ops: bandwidth, attention beside PyTorch's
#   main      npm start on the device: all phases and their evaluation
#   sanitize  compute-sanitizer on a small case of every op, number type and kernel
#   ncu       metrics of the products
#
# $OUT (default benchmarks/results/gpu) gets results.json, written anew after each stage, and log.txt: kept as
# benchmarks/results/gpu-DATE-RUN-CHIP-COMMIT.json ($HEED_COMMIT where there is no git). The kernels are built first; HEED_GOOGLETEST names GoogleTest's sources where it is not installed (default build-gpu/googletest).
set -uo pipefail
cd "$(dirname "$0")/.."
self=$PWD/benchmarks/gpu.sh
OUT=${OUT:-benchmarks/results/gpu}
golden=${HEED_GOLDEN:-build-gpu/golden}
googletest=${HEED_GOOGLETEST:-build-gpu/googletest}
build=build/gpu
programs=${HEED_CUDA_PROGRAMS:-$build}
export HEED_CUDA=${HEED_CUDA:-$PWD/$build/heed_cuda.so}
mkdir -p "$OUT" "$build"
log=$OUT/log.txt
export PYTHONUNBUFFERED=1 OUT
PATH=$PATH:/usr/local/cuda/bin

stage() { # stage NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS rc
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@" > >(tee -a "$log") 2>&1
  rc=$?
  python3 benchmarks/cuda/record.py "$OUT/results.json" stages "$name" "{\"rc\": $rc, \"seconds\": $((SECONDS - start))}"
  echo "== $name: $([ $rc = 0 ] && echo passed || echo "FAILED ($rc)"), $((SECONDS - start)) s"
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
    'timeout 20 "$1" compare "$2" {} 2>&1 || [ $? -le 1 ] || echo "{\"case\": \"{}\", \"equal\": false, \"error\": \"no answer\"}"' \
    sh "$programs/cuda_bits" "$golden" >"$lines"
  python3 benchmarks/cuda/record.py "$OUT/results.json" bits "@$lines"
  grep -v '"equal": true' "$lines" | sort
  echo "$(grep -c '"equal": true' "$lines") of $("$programs/cuda_bits" list | wc -l) cases have the emulator's bits"
  ! grep -q '"equal": false' "$lines" && [ -s "$lines" ]
}
models() {
  HEED_TEST_DEVICE=cuda "$programs/model_test" --gtest_brief=1 --gtest_filter='-Memory*:*Memory.*'
}
steps() {
  local lines=$build/steps.jsonl
  timeout 100 "$programs/bench_model" cuda bf16 step-124m decode-124m-1 decode-124m-64 score-124m \
    step-0.5b decode-1.5b-1 decode-1.5b-64 step-1.5b score-1.5b | tee "$lines"
  timeout 40 python3 benchmarks/cuda/step.py | tee -a "$lines"
  python3 benchmarks/cuda/record.py "$OUT/results.json" steps "@$lines"
  ! grep -q '"error"' "$lines" && [ -s "$lines" ]
}
find_node() { # what is carried, with all that it needs of the repository, else the machine's own
  [ -e dist/lib/index.js ] || tar -xJf build-gpu/node.tar.xz || return 1
  if [ -x build-gpu/node ]; then echo build-gpu/node; else command -v node; fi
}
phases() {
  local lines=$build/phases.jsonl node rc
  node=$(find_node) || return 1
  # shellcheck disable=SC2086
  "$node" benchmarks/cuda/phases.mjs ${HEED_PHASES:-} | tee "$lines"
  rc=${PIPESTATUS[0]}
  python3 benchmarks/cuda/record.py "$OUT/results.json" phases "@$lines"
  return "$rc"
}
main() { # HEED_MAIN: more options, such as --set ppo.iterations=2
  local node
  node=$(find_node) || return 1
  rm -rf "$OUT/align"
  # shellcheck disable=SC2086
  "$node" dist/lib/cli/main.js align --device cuda --out "$OUT/align" ${HEED_MAIN:-} || return 1
  "$node" -e 'const { winRates, rewardModel, timing } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    console.log(JSON.stringify({ winRates, rewardModel, timing }))' "$OUT/align/report.json" >"$build/main.json" || return 1
  python3 benchmarks/cuda/record.py "$OUT/results.json" main "$(cat "$build/main.json")"
}
sanitize() { # each case in a process of its own; of the products, the small ones, by every kernel. HEED_SANITIZE: others
  local lines=$build/sanitize.jsonl
  for tool in memcheck racecheck; do
    "$programs/cuda_bits" list | grep -E "${HEED_SANITIZE:-^gemm_.*_(even|tiny)|^[^g]|^ge[^m]}" | xargs -P 8 -I{} sh -c '
      out=$(timeout 60 compute-sanitizer --tool "$1" --error-exitcode 9 "$2" compare "$3" "{}" 2>&1); rc=$?
      [ $rc = 0 ] || echo "$out" | tail -n 15 >&2
      echo "{\"case\": \"{}\", \"tool\": \"$1\", \"rc\": $rc}"' sh "$tool" "$programs/cuda_bits" "$golden"
  done >"$lines"
  python3 benchmarks/cuda/record.py "$OUT/results.json" sanitize "@$lines"
  grep -v '"rc": 0' "$lines" | sort
  echo "$(grep -c '"rc": 0' "$lines") of $(wc -l <"$lines") runs are clean"
  [ -s "$lines" ] && ! grep -qv '"rc": 0' "$lines"
}
profile() {
  local metrics=sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,gpu__time_duration.sum,sm__cycles_elapsed.avg
  metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed,lts__t_sectors.sum,smsp__cycles_active.avg
  metrics+=,l1tex__data_bank_conflicts_pipe_lsu.sum,sm__inst_executed_pipe_tensor.sum,smsp__inst_executed.sum
  ncu --clock-control none --metrics "$metrics" --kernel-name regex:gemm_kernel --csv \
    python3 benchmarks/cuda/bench.py "$build" profile | grep -v '^==' | tail -n 60
}

run() {
  case $1 in
    bits) stage bits 90 "$self" --only bits ;;
    kernels_test) stage kernels_test 60 "$programs/cuda_device_test" --gtest_brief=1 ;;
    ops) stage ops 120 "$programs/cuda_device_ops_test" --gtest_brief=1 ;;
    models) stage models 60 "$self" --only models ;;
    phases) stage phases 150 "$self" --only phases ;;
    steps) stage steps 150 "$self" --only steps ;;
    gemm) stage gemm 120 python3 benchmarks/cuda/bench.py "$build" gemm ;;
    decode) stage decode 60 python3 benchmarks/cuda/bench.py "$build" decode ;;
    kernels) stage kernels 90 python3 benchmarks/cuda/bench.py "$build" kernels ;;
    main) stage main 300 "$self" --only main ;;
    sanitize) stage sanitize 180 "$self" --only sanitize ;;
    ncu) stage ncu 60 "$self" --only profile ;;
    *) echo "unknown stage: $1" ;;
  esac
}

if [ "${1:-}" = --only ]; then # a stage of several commands, as a program with a time limit
  "$2"
  exit
fi
: >"$log"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader | tee -a "$log"
IFS=, read -r gpu driver _ <"$log"
python3 benchmarks/cuda/record.py "$OUT/results.json" machine "{\"gpu\": \"$gpu\", \"driver\": \"${driver# }\",
  \"date\": \"$(date +%F)\", \"commit\": \"${HEED_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}\"}"
[ -n "${HEED_CUDA_PROGRAMS:-}" ] || stage build 240 "$self" --only build
for name in ${*:-bits kernels_test ops models phases steps gemm decode kernels sanitize main ncu}; do run "$name"; done
echo "== summary"
python3 benchmarks/cuda/record.py "$OUT/results.json"
