// Which files may include which: read from the sources, checked against one table (docs/architecture.md).
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const layers: Readonly<Record<string, readonly string[]>> = {
  'native/core': [],
  'native/platform': [],
  'native/ops': ['native/core'],
  'native/cpu': ['native/ops', 'native/core', 'native/platform'],
  'native/cuda': ['native/ops', 'native/core'],
  'native/model': ['native/ops', 'native/core', 'native/platform', 'native/engine.h'],
  'native/train': ['native/model', 'native/ops', 'native/core', 'native/engine.h'],
  'native/engine.h': ['native/ops', 'native/core'],
  'native/engine.cpp': ['native/engine.h', 'native/factory.h', 'native/ops', 'native/core'],
  'native/factory.h': ['native/ops', 'native/core'],
  'native/module_backend.h': ['native/ops', 'native/core'],
  'native/factory.cpp': [
    'native/factory.h',
    'native/module_backend.h',
    'native/cpu',
    'native/ops',
    'native/core',
    'native/platform',
  ],
  bindings: ['native/engine.h', 'native/model', 'native/train', 'native/core', 'native/platform'],
};

// The folders of lib/, lowest first. index.ts exports all of them; phases use only what a user could import too.
const rooms: Readonly<Record<string, readonly string[]>> = {
  core: [],
  statistics: ['core'],
  config: ['core', 'huggingface'],
  tokenizer: ['core'],
  huggingface: ['core'],
  world: ['core', 'tokenizer'],
  runs: ['core'],
  runtime: ['core', 'config', 'huggingface'],
  data: ['core', 'tokenizer', 'runtime', 'feedback'],
  gguf: ['core', 'tokenizer', 'huggingface', 'runtime'],
  phases: ['core', 'config', 'statistics', 'runtime', 'data', 'runs'],
  rewards: ['core', 'tokenizer', 'runtime', 'data', 'phases'],
  text: ['core', 'config', 'tokenizer', 'huggingface', 'runtime', 'data'],
  report: ['core', 'runs', 'statistics', 'phases'],
  http: ['core'],
  watch: ['core', 'http', 'runs', 'report'],
  feedback: ['core'],
  label: ['core', 'tokenizer', 'runtime', 'data', 'phases', 'text', 'http', 'feedback', 'statistics'],
  serve: ['core', 'tokenizer', 'runtime', 'data', 'phases', 'runs', 'text', 'http', 'feedback', 'statistics'],
  align: [
    'core',
    'tokenizer',
    'huggingface',
    'runtime',
    'runs',
    'data',
    'phases',
    'world',
    'report',
    'config',
    'statistics',
  ],
  evaluate: ['core', 'tokenizer', 'runtime', 'runs', 'data', 'phases', 'rewards', 'text', 'report', 'statistics'],
  cli: [
    'core',
    'evaluate',
    'statistics',
    'watch',
    'tokenizer',
    'huggingface',
    'runtime',
    'runs',
    'data',
    'phases',
    'text',
    'report',
    'config',
    'align',
    'rewards',
    'gguf',
    'http',
    'feedback',
    'label',
    'serve',
  ],
};

const filesOf = (dir: string, pattern: RegExp) =>
  readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => join(dir, name));

const layerOf = (path: string) => Object.keys(layers).find((layer) => path === layer || path.startsWith(`${layer}/`));

function includesOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return Array.from(text.matchAll(/^\s*#\s*include\s+[<"]([^>"]+)[>"]/gm), (match) => match[1]!);
}

describe('native code', () => {
  const files = [...filesOf('native', /\.(h|cpp|cu|cuh)$/), ...filesOf('bindings', /\.(h|cpp)$/)];

  test('every file belongs to a layer', () => {
    expect(files.length).toBeGreaterThan(40);
    expect(files.filter((file) => layerOf(file) === undefined)).toEqual([]);
  });

  test('a layer includes only lower layers', () => {
    const wrong = files.flatMap((file) => {
      const layer = layerOf(file);
      if (layer === undefined) return [];
      return includesOf(file)
        .filter((include) => include.startsWith('native/') || include.startsWith('bindings/'))
        .filter((include) => {
          const target = layerOf(include);
          return target === undefined || (target !== layer && !layers[layer]!.includes(target));
        })
        .map((include) => `${file} includes ${include}`);
    });
    expect(wrong).toEqual([]);
  });

  test('includes are from the root of the repository', () => {
    const relatives = files.flatMap((file) =>
      Array.from(readFileSync(join(root, file), 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm), (m) => m[1]!)
        .filter((include) => !/^(native|bindings)\//.test(include))
        .map((include) => `${file} includes "${include}"`),
    );
    expect(relatives).toEqual([]);
  });

  test('only the bindings use Node, and only the factory uses both backends', () => {
    const napi = files.filter((file) => includesOf(file).some((i) => /^(napi|node_api|js_native_api)/.test(i)));
    expect(napi.filter((file) => !file.startsWith('bindings/'))).toEqual([]);
    const backends = files.filter((file) => includesOf(file).some((i) => i.startsWith('native/cpu/')));
    expect(backends.filter((file) => !file.startsWith('native/cpu/'))).toEqual(['native/factory.cpp']);
  });
});

describe('TypeScript', () => {
  const files = filesOf('lib', /\.ts$/);
  const importsOf = (file: string) => {
    const text = readFileSync(join(root, file), 'utf8');
    return Array.from(
      text.matchAll(/(?:^|[;}\s])(import|export)\s+(type\s)?([^'"`;]*?from\s*)?['"]([^'"]+)['"]/g),
      (match) => ({
        typeOnly: match[2] !== undefined,
        from: match[4]!,
        path: match[4]!.startsWith('.') ? relative(root, resolve(root, dirname(file), match[4]!)) : undefined,
      }),
    );
  };

  test('native types stay in the files that wrap them', () => {
    const users = files.filter((file) => importsOf(file).some(({ path }) => path?.startsWith('bindings/')));
    expect(users.sort()).toEqual([
      'lib/core/native.ts',
      'lib/runtime/basemodel.ts',
      'lib/runtime/cache.ts',
      'lib/runtime/call.ts',
      'lib/runtime/engine.ts',
      'lib/runtime/generate.ts',
      'lib/runtime/handles.ts',
      'lib/runtime/nativeconfig.ts',
      'lib/runtime/scheduler.ts',
      'lib/runtime/trainer.ts',
    ]);
    const values = files.flatMap((file) =>
      importsOf(file).filter(({ path, typeOnly }) => path?.startsWith('bindings/') && !typeOnly),
    );
    expect(values).toEqual([]);
  });

  test('a folder imports only lower folders', () => {
    const roomOf = (path: string) => /^lib\/([^/]+)\//.exec(path)?.[1] ?? path;
    const wrong = files
      .filter((file) => file !== 'lib/index.ts')
      .flatMap((file) =>
        importsOf(file)
          .filter(({ path }) => path !== undefined && !path.startsWith('bindings/'))
          .filter(({ path }) => roomOf(path!) !== roomOf(file) && !rooms[roomOf(file)]?.includes(roomOf(path!)))
          .map(({ from }) => `${file} imports ${from}`),
      );
    expect(wrong).toEqual([]);
  });

  test('phases use only what a user could import: neither the addon nor file writing', () => {
    const wrong = files
      .filter((file) => file.startsWith('lib/phases/'))
      .flatMap((file) =>
        importsOf(file)
          .filter(({ path, typeOnly }) => !typeOnly && path && /^lib\/core\/(native|files)\.js$/.test(path))
          .map(({ from }) => `${file} imports ${from}`),
      );
    expect(wrong).toEqual([]);
  });

  test('the judge and the labelers share only the facts', () => {
    const reach = (start: string, seen = new Set<string>()): Set<string> => {
      if (seen.has(start)) return seen;
      seen.add(start);
      for (const { path, typeOnly } of importsOf(start)) {
        const file = path?.replace(/\.js$/, '.ts');
        if (file && !typeOnly && files.includes(file)) reach(file, seen);
      }
      return seen;
    };
    const judge = files.filter((file) => /^lib\/world\/judge/.test(file));
    const labelers = files.filter((file) => /^lib\/world\/label/.test(file));
    expect([judge.length > 0, labelers.length > 0]).toEqual([true, true]);
    const shared = judge.flatMap((j) => [...reach(j)]).filter((file) => labelers.some((l) => reach(l).has(file)));
    expect([...new Set(shared)].filter((file) => !/^lib\/world\/(facts|types)/.test(file))).toEqual([]);
  });
});
