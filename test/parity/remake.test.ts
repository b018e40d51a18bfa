// The committed fixtures equal the output of make.py.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import {
  FIXTURES,
  LANGUAGE_MODELS,
  type Numbers,
  readJson,
  readTensors,
  relativeError,
  SCALAR_MODELS,
} from './fixture.js';
import { runPython, testWithPython } from './python.js';

testWithPython('fixtures remade', () => {
  const folder = mkdtempSync(join(tmpdir(), 'heed-fixtures-'));
  try {
    runPython(join(FIXTURES, 'make.py'), [folder]);
    expect(readJson(join(folder, 'sequences.json'))).toEqual(readJson(join(FIXTURES, 'sequences.json')));
    for (const model of [...LANGUAGE_MODELS, ...SCALAR_MODELS]) {
      const both = (file: string) => [join(folder, model, file), join(FIXTURES, model, file)] as const;
      const [config, committedConfig] = both('config.json').map(readJson<Record<string, unknown>>);
      if (config!.transformers_version === committedConfig!.transformers_version) {
        expect(config).toEqual(committedConfig);
      }

      const [weights, committedWeights] = both('model.safetensors').map((file) => readTensors(file));
      expect(weights).toEqual(committedWeights);

      const [results, committedResults] = both('expected.safetensors').map((file) => readTensors(file));
      expect([...results!.keys()].sort()).toEqual([...committedResults!.keys()].sort());
      for (const [name, values] of results!) {
        const committed = committedResults!.get(name)!;
        // One gradient is 0 up to rounding: the bias before a scalar head shifts all scores equally.
        const isZero = Math.hypot(...values, ...committed) < 1e-15;
        const error = isZero ? 0 : relativeError(values, committed);
        expect({ model, name, error: error < 1e-10 ? 0 : error }).toEqual({ model, name, error: 0 });
      }

      // Other machines sum in other orders: single errors differ, their magnitude does not.
      const [numbers, committedNumbers] = both('expected.json').map(readJson<Numbers>);
      expect(numbers!.greedy).toEqual(committedNumbers!.greedy);
      const ratios = Object.entries(numbers!.float32Error).map(
        ([name, error]) => error / committedNumbers!.float32Error[name]!,
      );
      const median = ratios.sort((a, b) => a - b)[ratios.length >> 1]!;
      expect(median).toBeGreaterThan(0.5);
      expect(median).toBeLessThan(2);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
