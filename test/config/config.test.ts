import { describe, expect, test } from '@jest/globals';
import { alignConfig, alignSections } from '../../lib/align/config.js';
import {
  flagOf,
  parseSet,
  ppoFields,
  readConfig,
  resolve,
  rewardFields,
  sectionOf,
  sftFields,
} from '../../lib/config/index.js';
import { nearest } from '../../lib/config/nearest.js';
import { parseSectionSet, resolveSections } from '../../lib/config/nested.js';
import { temporaryFolder } from '../data/files.js';

const folder = temporaryFolder();
const from = (values: Record<string, unknown>, where = 'file') => ({ where, values });

describe('resolve', () => {
  test('fills in defaults; later sources win; null and undefined change nothing', () => {
    const values = resolve(sftFields, [
      from({ learningRate: 1e-3, seed: 4, epochs: 2 }),
      from({ seed: 5, epochs: null, learningRate: undefined }),
    ]);
    expect(values).toMatchObject({
      learningRate: 1e-3,
      seed: 5,
      epochs: 2,
      batchSize: 32,
      shuffle: true,
      adamBetas: [0.9, 0.95],
    });
    expect(values.steps).toBeUndefined();
  });

  test('the last source that sets the length of a run wins, by whichever option', () => {
    const values = (...sources: Record<string, unknown>[]) =>
      resolve(
        ppoFields,
        sources.map((given) => from(given)),
      );
    expect(values({ iterations: 9, steps: 3 }, { epochs: 2 })).toMatchObject({ epochs: 2 });
    expect(values({ iterations: 9, steps: 3 }, { epochs: 2 }).steps).toBeUndefined();
    expect(values({ epochs: 2 }, { seed: 1 }).epochs).toBe(2);
  });

  test.each([
    [{ learnRate: 1 }, 'file: there is no option learnRate, did you mean learningRate?'],
    [{ learning_rate: 1 }, 'file: there is no option learning_rate, did you mean learningRate?'],
    [{ lrSchedule: 'linear' }, 'file: there is no option lrSchedule, it is now called schedule'],
    [{ zzzzzzzzzz: 1 }, /^file: there is no option zzzzzzzzzz$/],
    [{ learningRate: 'fast' }, 'file: learningRate is "fast", expected a number of at least 0'],
    [{ learningRate: Number.NaN }, 'file: learningRate is NaN, expected a number'],
    [{ epochs: 0 }, 'file: epochs is 0, expected a number above 0'],
    [{ batchSize: 1.5 }, 'file: batchSize is 1.5, expected an integer of at least 1'],
    [{ dropout: 1 }, 'file: dropout is 1, expected a number of at least 0 and below 1'],
    [{ adamBetas: [0.9] }, 'file: adamBetas is [0.9], expected two numbers'],
    [{ adamBetas: [0.9, 1] }, 'file: adamBetas is [0.9,1], expected two numbers'],
    [{ schedule: 'step' }, 'file: schedule is "step", expected constant, linear or cosine'],
    [{ shuffle: 'no' }, 'file: shuffle is "no", expected true or false'],
    [{ data: [] }, 'file: data is [], expected one or more non-empty strings'],
    [{ data: [''] }, 'file: data is [""], expected one or more non-empty strings'],
    [{ model: 3 }, 'file: model is 3, expected a non-empty string'],
  ])('refuses %j with one line', (values, message) => {
    expect(() => resolve(sftFields, [from({ seed: 1 }, 'before'), from(values)])).toThrow(message);
  });

  test('names a flag as it is typed', () => {
    const flags = { where: 'heed sft', values: { learningRate: -1 }, nameOf: flagOf };
    expect(() => resolve(sftFields, [flags])).toThrow('heed sft: --learning-rate is -1');
  });

  test('accepts one file for a list', () => {
    expect(resolve(sftFields, [from({ data: 'a.jsonl' })]).data).toEqual(['a.jsonl']);
  });

  test('dropout is refused in phases that cannot have it', () => {
    expect(() => resolve(rewardFields, [from({ dropout: 0.1 })])).toThrow(
      'dropout is 0.1, expected a number of at least 0 and of at most 0',
    );
    expect(() => resolve(ppoFields, [from({ dropout: 0.1 })])).toThrow('dropout is 0.1');
  });
});

describe('files', () => {
  test('are YAML or JSON', async () => {
    expect(await readConfig(folder.write('a.yaml', 'learningRate: 1e-3\ndata: [a, b]\n'))).toEqual({
      learningRate: 1e-3,
      data: ['a', 'b'],
    });
    expect(await readConfig(folder.write('a.json', '{"learningRate": 1e-3}'))).toEqual({ learningRate: 1e-3 });
    expect(await readConfig(folder.write('empty.yaml', '# nothing\n'))).toEqual({});
  });

  test.each([
    ['a: [1\nb: }\n', /bad\.yaml:2: is not valid YAML/],
    ['{"a": 1', /bad\.yaml:1: is not valid YAML/],
    ['a: 1\na: 2\n', /bad\.yaml:\d: is not valid YAML: Map keys must be unique/],
    ['- 1\n', /bad\.yaml: is not a mapping of keys to values/],
    ['word', /bad\.yaml: is not a mapping/],
  ])('that are invalid are named: %j', async (content, message) => {
    await expect(readConfig(folder.write('bad.yaml', content))).rejects.toThrow(message);
  });

  test('that are missing are named', async () => {
    await expect(readConfig(folder.path('none.yaml'))).rejects.toThrow(/none\.yaml: does not exist/);
  });

  test('may be shared by several commands', () => {
    const config = { seed: 3, sft: { epochs: 2 }, ppo: { klCoef: 1 }, tokenizer: 'dir' };
    expect(sectionOf(config, 'sft', ['ppo', 'tokenizer'])).toEqual({ seed: 3, epochs: 2, tokenizer: 'dir' });
    expect(sectionOf(config, 'ppo', ['sft', 'tokenizer'])).toEqual({ seed: 3, klCoef: 1, tokenizer: 'dir' });
    expect(sectionOf({ sft: { epochs: 2 }, epochs: 1 }, 'sft', [])).toEqual({ epochs: 2 });
  });
});

test('the example is a configuration of the three phases', async () => {
  const { model, seed, ...sections } = await readConfig('examples/mine.yaml');
  expect([model, seed, Object.keys(sections)]).toEqual(['runs/base/model', 1, ['sft', 'reward', 'ppo']]);
  for (const [fields, section] of [
    [sftFields, sections.sft],
    [rewardFields, sections.reward],
    [ppoFields, sections.ppo],
  ] as const) {
    resolve(fields, [from(section as Record<string, unknown>)]);
  }
});

test('--set gives values their type', () => {
  const set = (text: string) => parseSet(sftFields, text, 'sft');
  expect(set('learningRate=1e-4')).toEqual({ learningRate: 1e-4 });
  expect(set('sft.learningRate=1e-4')).toEqual({ learningRate: 1e-4 });
  expect(set('shuffle=false')).toEqual({ shuffle: false });
  expect(set('adamBetas=0.8,0.9')).toEqual({ adamBetas: [0.8, 0.9] });
  expect(set('model=a=b')).toEqual({ model: 'a=b' });
  expect(set('data=a,b')).toEqual({ data: ['a', 'b'] });
  expect(set('epochs=many')).toEqual({ epochs: 'many' });
  expect(set('epochs=')).toEqual({ epochs: '' });
  expect(() => set('epochs')).toThrow('--set epochs: expected key=value');
});

describe('sections', () => {
  const resolved = (...sources: Record<string, unknown>[]) =>
    resolveSections(
      alignSections,
      sources.map((values, i) => from(values, `source ${i}`)),
    );

  test('are merged key by key', () => {
    const config = resolved({ ppo: { iterations: 3, klCoef: 0.5 } }, parseSectionSet(alignSections, 'ppo.klCoef=0.1'), {
      seed: 7,
    });
    expect(config.ppo).toMatchObject({ iterations: 3, klCoef: 0.1 });
    expect(config.seed).toBe(7);
    expect(config.sft).toEqual(alignConfig().sft);
  });

  test.each([
    ['ppo.learningRat=0', 'there is no option ppo.learningRat, did you mean ppo.learningRate?'],
    ['ppo.valueClip=1', 'there is no option ppo.valueClip, it is now called ppo.valueClipRange'],
    ['pppo.learningRate=0', 'there is no option pppo, did you mean ppo?'],
    ['ppo.learningRate=fast', 'ppo.learningRate is "fast", expected a number'],
    ['ppo.learningRate=-1', 'ppo.learningRate is -1, expected a number of at least 0'],
    ['ppo=3', 'ppo is "3", expected a section of options'],
    ['reward.shuffleLabels=7', 'reward.shuffleLabels is "7", expected true or false'],
  ])('%s is refused with one line', (text, message) => {
    expect(() => resolved(parseSectionSet(alignSections, text))).toThrow(`source 0: ${message}`);
  });

  test('--set without a value is refused', () => {
    expect(() => parseSectionSet(alignSections, 'ppo.learningRate')).toThrow('expected key=value');
  });
});

test('nearest finds the name that was probably meant', () => {
  const names = ['learningRate', 'schedule', 'epochs', 'seed'];
  expect(nearest('learningrate', names)).toBe('learningRate');
  expect(nearest('learning-rate', names)).toBe('learningRate');
  expect(nearest('epcohs', names)).toBe('epochs');
  expect(nearest('sede', names)).toBe('seed');
  expect(nearest('temperature', names)).toBeUndefined();
});
