import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { namesOf, readModelFolder } from '../../lib/cli/models.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'heed-models-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function write(path: string, text = '{}') {
  mkdirSync(join(dir, path, '..'), { recursive: true });
  writeFileSync(join(dir, path), text);
}

test('a run folder is recognised, and its model is named', async () => {
  write('metrics.jsonl', '');
  write('config.json', '{"command":"sft"}');
  await expect(readModelFolder(dir)).rejects.toThrow(
    `${dir}: is a run folder, expected a model folder; it has no model yet: continue it with --resume`,
  );
  write('model/config.json');
  await expect(readModelFolder(dir)).rejects.toThrow(
    `${dir}: is a run folder, expected a model folder; give ${join(dir, 'model')}`,
  );
});

test('so is a run of heed align, which has several models', async () => {
  write('sft/metrics.jsonl', '');
  write('sft/model/config.json');
  write('ppo-ptx/model/config.json');
  await expect(readModelFolder(dir)).rejects.toThrow(
    `give ${join(dir, 'ppo-ptx', 'model')} or ${join(dir, 'sft', 'model')}`,
  );
});

test('any other folder is not a model', async () => {
  await expect(readModelFolder(dir)).rejects.toThrow(`${join(dir, 'config.json')}: does not exist`);
});

test.each([
  [
    ['runs/ppo1/model', 'pm/model/'],
    ['ppo1', 'pm'],
  ],
  [
    ['qwen', './runs/../sft'],
    ['qwen', 'sft'],
  ],
  [
    ['a/sft/model', 'b/sft/model', 'c'],
    ['a/sft/model', 'b/sft/model', 'c'],
  ],
])('models in %j are called %j', (dirs, names) => expect(namesOf(dirs)).toEqual(names));

test('the folder that a command runs in has its own name', () => {
  expect(namesOf(['.'])).toEqual([basename(process.cwd())]);
});
