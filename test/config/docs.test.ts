// The documentation of options agrees with the tables of lib/config.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import {
  dpoFields,
  dpoOptions,
  type Fields,
  flagOf,
  grpoFields,
  grpoOptions,
  ktoFields,
  ktoOptions,
  orpoFields,
  orpoOptions,
  ppoFields,
  ppoOptions,
  pretrainOptions,
  rewardFields,
  rewardOptions,
  rlooFields,
  rlooOptions,
  serveFields,
  sftFields,
  sftOptions,
  simpoFields,
  simpoOptions,
} from '../../lib/config/index.js';

const root = join(import.meta.dirname, '../..');
const phases: Readonly<Record<string, Fields>> = {
  sft: sftOptions,
  reward: rewardOptions,
  ppo: ppoOptions,
  pretrain: pretrainOptions,
  dpo: dpoOptions,
  kto: ktoOptions,
  orpo: orpoOptions,
  simpo: simpoOptions,
  grpo: grpoOptions,
  rloo: rlooOptions,
};

const plain = (value: unknown) =>
  typeof value === 'number' && value > 0 && value < 1e-3 ? value.toExponential() : String(value);

/** One row for each option with a source; phases that share an option share its row. */
function defaultsTable(): string {
  const rows = new Map<string, { names: string[]; key: string; value: string; source: string }>();
  for (const [phase, fields] of Object.entries(phases)) {
    for (const [key, { default: initial, help, source }] of Object.entries(fields)) {
      if (source === undefined) continue;
      const value =
        initial === undefined ? (help.match(/\[(.*)\]$/)?.[1] ?? 'off') : [initial].flat().map(plain).join(', ');
      const id = `${key} ${value} ${source}`;
      const row = rows.get(id) ?? { names: [], key, value, source };
      row.names.push(phase);
      rows.set(id, row);
    }
  }
  const lines = [...rows.values()].map(
    ({ names, key, value, source }) =>
      `| ${names.length === Object.keys(phases).length ? 'all' : names.join(', ')} | \`${key}\` | ${value} | ${source} |`,
  );
  return ['| phase | option | default | source |', '|---|---|---|---|', ...lines].join('\n');
}

test('docs/training.md has the defaults and their sources (UPDATE_DOCS=1 writes them)', () => {
  const file = join(root, 'docs/training.md');
  const text = readFileSync(file, 'utf8');
  const begin = text.indexOf('-->\n', text.indexOf('<!-- defaults:')) + '-->\n'.length;
  const end = text.indexOf('<!-- defaults end -->');
  const wanted = `\n${defaultsTable()}\n\n`;
  if (process.env.UPDATE_DOCS === '1') writeFileSync(file, text.slice(0, begin) + wanted + text.slice(end));
  else expect(text.slice(begin, end)).toBe(wanted);
});

// Also within code a bar would end the cell.
const escaped = (text: string) => text.replaceAll('|', '\\|');

/** A row for each flag of a command: its default, or what happens without it as its help says in brackets. */
function flagsTable(fields: Fields): string {
  const rows = Object.entries(fields).map(([key, { default: initial, help, kind, value }]) => {
    const [, meaning, otherwise] = help.match(/^(.*?)(?: \[(.*)\])?$/s)!;
    const isOff = kind === 'switch' && initial === true;
    const flag = `${flagOf(key).replace(/^--/, isOff ? '--no-' : '--')}${value === '' ? '' : ` ${value}`}`;
    const shown =
      kind === 'switch'
        ? 'off'
        : initial === undefined
          ? (otherwise ?? 'none')
          : [initial].flat().map(plain).join(', ');
    return `| \`${escaped(flag)}\` | ${escaped(shown)} | ${escaped(meaning!)} |`;
  });
  return ['| flag | default | |', '|---|---|---|', ...rows].join('\n');
}

test('docs/service.md has the flags of heed serve (UPDATE_DOCS=1 writes them)', () => {
  const file = join(root, 'docs/service.md');
  const text = readFileSync(file, 'utf8');
  const begin = text.indexOf('-->\n', text.indexOf('<!-- flags:')) + '-->\n'.length;
  const end = text.indexOf('<!-- flags end -->');
  const wanted = `\n${flagsTable(serveFields)}\n\n`;
  if (process.env.UPDATE_DOCS === '1') writeFileSync(file, text.slice(0, begin) + wanted + text.slice(end));
  else expect(text.slice(begin, end)).toBe(wanted);
});

test("the API's documentation states the defaults", () => {
  const files = {
    sft: ['sft', 'optimizer', 'supervised', 'loop'],
    reward: ['reward', 'optimizer', 'loop'],
    ppo: ['ppo/options', 'episodes', 'optimizer', 'loop'],
    pretrain: ['pretrain', 'optimizer', 'supervised', 'loop'],
    dpo: ['dpo', 'comparisons', 'optimizer', 'loop'],
    kto: ['kto', 'optimizer', 'loop'],
    orpo: ['orpo', 'comparisons', 'optimizer', 'loop'],
    simpo: ['simpo', 'comparisons', 'optimizer', 'loop'],
    grpo: ['grpo', 'online', 'episodes', 'optimizer', 'loop'],
    rloo: ['rloo', 'online', 'episodes', 'optimizer', 'loop'],
  };
  let stated = 0;
  for (const [phase, names] of Object.entries(files)) {
    const source = names.map((name) => readFileSync(join(root, `lib/phases/${name}.ts`), 'utf8')).join('\n');
    for (const [key, field] of Object.entries(phases[phase]!)) {
      // Where the phase redeclares an option of all phases, its own documentation comes first.
      const found = source.match(new RegExp(`(/\\*\\*(?:(?!\\*/)[^])*\\*/\\s*)readonly ${key}\\?: `));
      if (!found) throw new Error(`${phase}: ${key} is not in the API, or has no documentation`);
      const said = found[1]!.match(/Default (\[[^\]]*\]|'[^']*'|[\w.-]+(?: 000)?)/)?.[1]?.replace(/\.$/, '');
      if (field.default === undefined || said === undefined) continue;
      stated++;
      const value: unknown = said.startsWith('[')
        ? JSON.parse(said)
        : typeof field.default === 'number'
          ? Number(said.replace(' ', ''))
          : said.replaceAll("'", '');
      expect([phase, key, value]).toEqual([
        phase,
        key,
        typeof value === 'string' ? String(field.default) : field.default,
      ]);
    }
  }
  expect(stated).toBeGreaterThan(40);
});

test('commands offer every option of their phase as a flag', () => {
  for (const [options, fields] of [
    [sftOptions, sftFields],
    [rewardOptions, rewardFields],
    [ppoOptions, ppoFields],
    [dpoOptions, dpoFields],
    [ktoOptions, ktoFields],
    [orpoOptions, orpoFields],
    [simpoOptions, simpoFields],
    [grpoOptions, grpoFields],
    [rlooOptions, rlooFields],
  ] as const) {
    expect(Object.keys(fields).map(flagOf)).toEqual(expect.arrayContaining(Object.keys(options).map(flagOf)));
  }
});
