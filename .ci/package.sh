# The package as users get it. Sourced by .ci/run, which defines check().
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
system=$(node -p 'process.platform + "-" + process.arch')
# A PATH with Node and a shell, but neither cmake nor a compiler.
bare=$work/bare
mkdir "$bare"
for tool in node npm npx sh env git; do ln -s "$(command -v "$tool")" "$bare/$tool"; done

pack() { npm pack --silent --pack-destination "$work" >/dev/null && mv "$work"/heed-*.tgz "$work/heed.tgz"; }
# What must not be in it, and what must.
holds() {
  local names
  names=$(tar tzf "$work/heed.tgz")
  ! grep -nE 'binding\.gyp|\.tsbuildinfo|/test/|node_modules' <<<"$names" || return 1
  for name in "prebuilds/$system/heed.node" dist/lib/index.js include/node-api/node_api.h CMakeLists.txt scripts/build.mjs docs/cli.md \
    examples/serve.mjs CHANGELOG.md LICENSE; do
    grep -qx "package/$name" <<<"$names" || { echo "$name is missing"; return 1; }
  done
  # Every file that its pages link to.
  mkdir "$work/unpacked" && tar xzf "$work/heed.tgz" -C "$work/unpacked"
  (cd "$work/unpacked/package" && node -e '
    const { readFileSync, existsSync, readdirSync } = require("fs");
    const { dirname, join } = require("path");
    const pages = readdirSync(".", { recursive: true }).filter((name) => name.endsWith(".md"));
    const missing = pages.flatMap((page) => [...readFileSync(page, "utf8").matchAll(/\]\(([^)#]+)(#[^)]*)?\)/g)]
      .map(([, link]) => link).filter((link) => !/^https?:/.test(link) && !existsSync(join(dirname(page), link)))
      .map((link) => `${page} links to ${link}`));
    if (missing.length > 0) throw new Error(missing.join("\n"));') || return 1
  tar xzOf "$work/heed.tgz" package/package.json | node -e '
    const { scripts } = JSON.parse(require("fs").readFileSync(0, "utf8"));
    for (const name of ["preinstall", "install", "postinstall"]) if (name in scripts) throw new Error(`it has the script ${name}`);'
}
# npm's own check of os, cpu and libc lets every platform with an addon install it.
is_allowed() {
  tar xzOf "$work/heed.tgz" package/package.json | node -e '
    const { checkPlatform } = require(process.argv[1]);
    const found = JSON.parse(require("fs").readFileSync(0, "utf8"));
    for (const tag of ["linux-x64-glibc", "linux-arm64-glibc", "linux-x64-musl", "linux-arm64-musl", "darwin-arm64", "darwin-x64", "win32-x64"]) {
      const [os, cpu, libc] = tag.split("-");
      checkPlatform(found, false, { os, cpu, libc });
    }' "$(dirname "$own_npm")/../node_modules/npm-install-checks"
}
project() { mkdir -p "$work/$1" && echo '{ "private": true }' >"$work/$1/package.json"; }
# installs FOLDER NODE NPM: with the PATH of a machine without a compiler.
installs() {
  project "$1" && (cd "$work/$1" && PATH=$(dirname "$2"):$bare node "$3" install --ignore-scripts --no-audit --no-fund ../heed.tgz)
}
own_npm=$(dirname "$(readlink -f "$(command -v npm)")")/npm-cli.js
works() { # works FOLDER NODE
  (
    cd "$work/$1" || exit
    cp "$root/.ci/phases.mjs" .
    "$2" --input-type=module -e "import * as heed from 'heed'; import { phases } from './phases.mjs'; console.log('import', await phases(heed, 'node_modules/heed'));" &&
      "$2" --no-warnings --input-type=commonjs -e "const { phases } = require('./phases.mjs'); phases(require('heed'), 'node_modules/heed').then((text) => console.log('require', text));"
  )
}
typechecks() ( # a subshell: it changes the folder
  cd "$work/own" || exit
  cat >use.ts <<'TS'
import { Engine, HeedError, LanguageModel, type ModelConfig, ScalarModel } from 'heed';
export async function use(config: ModelConfig): Promise<Float32Array> {
  const engine: Engine = await Engine.create({ maxTokens: 64 });
  const model = await LanguageModel.init(engine, config, { seed: 1 });
  const scalar = await ScalarModel.from(model, { seed: 1 });
  if (scalar.config.numLayers < 1) throw new HeedError('ERR_INTERNAL', 'none');
  return model.parameter('model.norm.weight');
}
TS
  "$root/node_modules/.bin/tsc" --noEmit --strict --module nodenext --target es2022 --lib es2023,esnext.disposable \
    --typeRoots "$root/node_modules/@types" --types node use.ts || exit
  # The servers' parts, with no types but Node's: SQLite's are not installed by those who use heed.
  mkdir -p types && ln -sfn "$root/node_modules/@types/node" types/node
  cat >serve.ts <<'TS'
import Fastify from 'fastify';
import { type LanguageModel, Tokenizer } from 'heed';
import { type Labelling, type LabellingOptions, labelling, type Overview } from 'heed/label';
import { type Serving, type ServingOptions, serving } from 'heed/serve';
export async function use(model: LanguageModel, folder: string): Promise<Overview> {
  const answers: ServingOptions = { name: 'mine', model, tokenizer: await Tokenizer.load(folder), feedback: 'feedback.db' };
  const service: Serving = serving(answers);
  const options: LabellingOptions = { out: 'labels.db', prompts: [{ prompt: 'Why?', responses: ['a', 'b'] }], k: 2 };
  const page: Labelling = labelling(options);
  const app = Fastify();
  app.register(service, { prefix: '/llm' });
  app.register(page, { prefix: '/label' });
  await page.invite('Ada');
  return page.overview();
}
TS
  "$root/node_modules/.bin/tsc" --noEmit --strict --skipLibCheck false --module nodenext --target es2022 --lib es2023,esnext.disposable \
    --typeRoots types --types node serve.ts
)
# At most 55 MB apart from two native packages, the tokenizers and SQLite; of the addons one platform's counts.
is_small() {
  local all native=0 prebuilds own size
  all=$(du -sm "$work/own/node_modules" | cut -f1)
  for name in tokenizers better-sqlite3; do
    size=$(du -sm "$work/own/node_modules/$name" | cut -f1)
    native=$((native + size))
  done
  prebuilds=$(du -sm "$work/own/node_modules/heed/prebuilds" | cut -f1)
  own=$(du -sm "$work/own/node_modules/heed/prebuilds/$system" | cut -f1)
  echo "$((all - native - prebuilds + own)) MB for $system, $prebuilds MB of addons in all, $native MB of tokenizers and SQLite"
  [ $((all - native - prebuilds + own)) -le 55 ]
}
bundles() (
  cd "$work/own" || exit
  echo "import { Engine } from 'heed'; const engine = await Engine.create({ threads: 1 }); console.log(engine.info.device); await engine.dispose();" >app.mjs
  "$root/node_modules/.bin/esbuild" app.mjs --bundle --platform=node --format=esm --external:heed --outfile=external.mjs --log-level=error &&
    node external.mjs || exit 1
  mkdir ../bundled
  for format in esm cjs; do
    sed 's/^import.*; const engine = await \(.*\); console.*/import { Engine } from "heed"; \1.catch((error) => console.log(error.message));/' app.mjs >once.mjs
    "$root/node_modules/.bin/esbuild" once.mjs --bundle --platform=node --format=$format --outfile=../bundled/app.${format/esm/mjs} --log-level=error
    node ../bundled/app.${format/esm/mjs} | grep 'heed was bundled without its native addon: keep it external' || exit 1
  done
)
draws() (cd "$work/own" && npx heed --version && npx heed sft --model node_modules/heed/models/base --data node_modules/heed/examples/data/demos.jsonl \
  --out run --epochs 1 --batch-size 64 && npx heed report run && grep -q '<svg' run/report.html)
# Feedback is kept by better-sqlite3: from Node 22 on by a version without install scripts, in Node 20 there is the command that runs its script.
keeps_feedback() { # keeps_feedback FOLDER NODE
  local said
  said=$(cd "$work/$1" && "$2" --input-type=module -e "import { openFeedback } from './node_modules/heed/dist/lib/feedback/database.js';
    await openFeedback('feedback.db').then((file) => { file.close(); console.log('opened'); }, (error) => console.log(error.message));")
  echo "$said"
  if [[ $("$2" -v) == v20.* ]]; then grep -q 'better-sqlite3, whose install script .*: run `npm rebuild better-sqlite3`' <<<"$said"; else [ "$said" = opened ]; fi
}
# What examples/Dockerfile runs, with its Node and the newest npm, without a compiler.
contains() (
  project container && cd "$work/container" || exit
  version=$(sed -n 's/^FROM node:\([0-9]*\)-.*/\1/p' "$root/examples/Dockerfile")
  npm install --silent --ignore-scripts --no-audit --no-fund --prefix ../node-image "node-${system/win32/win}@$version" || exit
  install=$(sed -n 's/^RUN \(npm init .*npm install\) heed && npm cache clean --force$/\1/p' "$root/examples/Dockerfile")
  mkdir app data bin && ln -s "$root/.ci/tools/node_modules/npm/bin/npm-cli.js" bin/npm || exit
  export PATH=$PWD/bin:$work/node-image/node_modules/node-${system/win32/win}/bin:$bare
  cd app || exit
  [ -n "$install" ] && node -v && npm -v && sh -c "$install ../../heed.tgz" || exit
  node -e '
    const { readFileSync } = require("fs");
    const { spawn } = require("child_process");
    const text = readFileSync(process.argv[1], "utf8");
    const [command, check] = ["ENTRYPOINT", "HEALTHCHECK CMD"].map((name) => JSON.parse(new RegExp(`^${name} (.*)$`, "m").exec(text)[1]));
    const here = { "/model": "node_modules/heed/models/base", "/data/feedback.db": "../data/feedback.db", "0.0.0.0": "127.0.0.1" };
    const serve = spawn(command[0], [...command.slice(1).map((word) => here[word] ?? word), "--port", "0"],
      { env: { ...process.env, HEED_API_KEYS: "key" }, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    const hear = (text) => {
      const port = /http:\/\/127\.0\.0\.1:(\d+)/.exec(said += text)?.[1];
      if (port === undefined || serve.heard) return;
      serve.heard = true;
      spawn(check[0], check.slice(1).map((word) => word.replace("8080", port)), { stdio: "inherit" }).on("exit", (code) => {
        console.log(said, `ready: ${code}`);
        serve.kill("SIGTERM");
        process.exitCode = code;
      });
    };
    serve.stdout.on("data", hear);
    serve.stderr.on("data", hear);
    serve.on("exit", (code) => {
      if (!serve.heard || code !== 0) { console.log(said, `ended with ${code}`); process.exitCode = 1; }
    });' "$root/examples/Dockerfile"
)
# Without an addon: what was looked for and the command that helps; that command, without cmake and with it.
explains() (
  cd "$work/own" || exit
  rm -r node_modules/heed/prebuilds
  said=$(node --input-type=module -e "import { Engine } from 'heed'; await Engine.create().catch((error) => console.log(error.message));")
  echo "$said"
  [[ $said == *"prebuilds/$system/heed.node does not exist"*"npx heed build"* ]]
)
build_explains() (
  cd "$work/own" || exit
  if said=$(PATH=$bare npx heed build 2>&1); then echo 'it was compiled'; exit 1; fi
  echo "$said" | grep -E 'heed: compiling needs cmake .* install with'
)
# One level is compiled: the others are built by the tests.
builds() (cd "$work/own" && HEED_CMAKE='-DHEED_LEVELS=portable' npx heed build && works own "$(command -v node)")
from_git() (
  project git && cd "$work/git" || exit
  HEED_CMAKE='-DHEED_LEVELS=portable' npm install --no-audit --no-fund "git+file://$root#$(git -C "$root" rev-parse HEAD)" && works git "$(command -v node)"
)
clone_explains() (
  mkdir "$work/clone" && cp -R $(git ls-files | cut -d/ -f1 | sort -u) "$work/clone" && cd "$work/clone" || exit
  if said=$(npm pack 2>&1); then echo 'it was packed'; exit 1; fi
  echo "$said" | grep 'packing needs the development packages: run `npm ci` first'
)

# The package of the CUDA module: with the module whose kernels run on the emulator, and with nvcc's, where that was compiled.
emulated=cmake-build/Release/heed_cuda_emulated.so
compiled=cmake-build/cuda/heed_cuda.so
packs_cuda() { # packs_cuda MODULE TARBALL
  npm run --silent cuda -- --module "$1" && npm pack --silent --pack-destination "$work" ./cmake-build/cuda-linux-x64 >/dev/null &&
    mv "$work"/heed-cuda-linux-x64-*.tgz "$work/$2"
}
device() { # device FOLDER PATTERN: what device 'auto' is there, and why
  local said
  said=$(cd "$work/$1" && node --input-type=module -e "import { Engine } from 'heed'; const engine = await Engine.create({ device: 'auto' });
    console.log(engine.info.device, engine.info.fallback ?? ''); await engine.dispose();")
  echo "$said"
  grep -qE "$2" <<<"$said"
}
uses_cuda() {
  project cuda && (cd "$work/cuda" && PATH=$bare npm install --ignore-scripts --no-audit --no-fund ../heed.tgz ../cuda.tgz) || return 1
  device cuda '^cuda emulated' && device own '^cpu .*npm install @heed/cuda-linux-x64'
}
# A GPU, or one sentence about what is missing.
uses_compiled() {
  project gpu && (cd "$work/gpu" && PATH=$bare npm install --ignore-scripts --no-audit --no-fund ../heed.tgz ../gpu.tgz) || return 1
  device gpu '^cuda |^cpu .*NVIDIA driver'
}
# What `npx heed build --cuda` compiles is all in the package: the build is planned, not made.
plans_cuda() {
  cmake -S "$work/own/node_modules/heed" -B "$work/plan" -DHEED_CUDA=ON -DHEED_ADDON=OFF >/dev/null &&
    grep -qr heed_cuda.so "$work/plan" --include=build.ninja --include=build.make
}

check 'package: its tools' npm ci --ignore-scripts --no-audit --no-fund --prefix .ci/tools
check 'package: an addon for this machine' npm run prebuilds
check 'package: packs' pack
check 'package: what is in it' holds
check 'package: npm allows it on every platform' is_allowed
check 'package: its API reference' npm run docs
check 'package: publint' .ci/tools/node_modules/.bin/publint run "$work/heed.tgz" --strict
check 'package: types for every way to import it' .ci/tools/node_modules/.bin/attw "$work/heed.tgz" --profile esm-only
check 'package: installs without scripts and a compiler' installs own "$(command -v node)" "$own_npm"
check 'package: its size' is_small
check 'package: its types' typechecks
check 'package: bundled, and beside a bundle' bundles
check 'package: trains and draws a report' draws
# The oldest and the newest; HEED_SLOW=1: those between.
for version in 20 ${HEED_SLOW:+22 24} 26; do
  project "node$version"
  (cd "$work/node$version" && npm install --silent --ignore-scripts --no-audit --no-fund "node-${system/win32/win}@$version") || continue
  node=$work/node$version/node_modules/node-${system/win32/win}/bin/node
  npm=$own_npm
  [ "$version" -lt 24 ] || npm=$root/.ci/tools/node_modules/npm/bin/npm-cli.js # 12, which runs no scripts of dependencies
  check "package: installs with Node $version" installs "on$version" "$node" "$npm"
  check "package: keeps feedback with Node $version, or says what repairs it" keeps_feedback "on$version" "$node"
  check "package: two steps of each phase with Node $version, imported and required" works "on$version" "$node"
done
check 'package: the commands of examples/Dockerfile' contains
if [ -e "$emulated" ]; then
  check 'package: @heed/cuda-linux-x64 packs' packs_cuda "$emulated" cuda.tgz
  check 'package: a GPU is used where its package is installed, else the reason is said' uses_cuda
fi
if [ -e "$compiled" ]; then
  check 'package: @heed/cuda-linux-x64 packs as nvcc makes it' packs_cuda "$compiled" gpu.tgz
  check 'package: with it a GPU is used, or the driver is missing' uses_compiled
  check 'package: holds all that the CUDA module is compiled from' plans_cuda
fi
check 'package: says what is missing where no addon fits' explains
check 'package: says what compiling needs' build_explains
check 'package: npx heed build' builds
if git rev-parse --git-dir >/dev/null 2>&1; then
  # It installs and compiles everything once more.
  if [ "${HEED_SLOW:-}" = 1 ]; then check 'package: installs from git' from_git; fi
  check 'package: a clone without packages says what packing needs' clone_explains
fi
