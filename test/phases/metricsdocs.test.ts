// docs/metrics.md has every key that phases declare, with its meaning; `UPDATE_DOCS=1 npm run jest -- test/phases/metricsdocs` rewrites it.
// That phases write no other keys, the compiler sees: their generators yield these types.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

const root = join(import.meta.dirname, '../..');
const page = join(root, 'docs/metrics.md');

/** What each phase's lines consist of. */
const phases: Readonly<Record<string, readonly string[]>> = {
  'Every phase': ['StepMetrics'],
  'SFT and pretraining (`heed sft`, `heed pretrain`)': ['SupervisedMetrics'],
  'Reward model (`heed reward`)': ['RewardMetrics'],
  'PPO (`heed ppo`)': ['EpisodeMetrics', 'RolloutMetrics', 'PpoMetrics'],
  'GRPO and RLOO (`heed grpo`, `heed rloo`)': ['EpisodeMetrics', 'OnlineMetrics'],
  'DPO, KTO, ORPO and SimPO (`heed dpo`, `heed kto`, `heed orpo`, `heed simpo`)': ['OfflineMetrics'],
};

interface Key {
  readonly name: string;
  readonly optional: boolean;
  readonly type: string;
  readonly meaning: string;
}

/** The fields of an interface with their comments. */
function keysOf(source: string, name: string): Key[] {
  const body = source.match(new RegExp(`export interface ${name}[^{]*\\{\\n([\\s\\S]*?)\\n\\}`))?.[1];
  if (body === undefined) throw new Error(`there is no interface ${name}`);
  const fields = body.matchAll(/(?:\/\*\*([\s\S]*?)\*\/\s*)?(?:readonly )?(\w+)(\??): ([^;]+);/g);
  return Array.from(fields, ([, comment = '', key, optional, type]) => ({
    name: key!,
    optional: optional === '?',
    type: type!,
    meaning: comment
      .replace(/\s*\n\s*\*\s?/g, ' ')
      .replace(/\{@link ([\w.]+)\}/g, '`$1`')
      .replaceAll('|', '\\|')
      .trim(),
  }));
}

test('the page has every key', () => {
  const source = readFileSync(join(root, 'lib/phases/metrics.ts'), 'utf8');
  const tables = Object.entries(phases).map(([title, names]) => {
    const rows = names.flatMap((name) => keysOf(source, name));
    const lines = rows.map(
      ({ name, optional, meaning }) => `| \`${name}\`${optional ? ' (not in every line)' : ''} | ${meaning} |`,
    );
    return [`## ${title}`, '', '| key | |', '|---|---|', ...lines, ''].join('\n');
  });
  const text = readFileSync(page, 'utf8');
  const [head, , tail] = text.split(/(?<=<!-- keys -->\n)([\s\S]*?)(?=<!-- end of keys -->)/);
  const expected = `${head}\n${tables.join('\n')}\n${tail}`;
  if (process.env.UPDATE_DOCS === '1') writeFileSync(page, expected);
  else expect(text).toBe(expected);
  const all = Object.values(phases).flat().flatMap((name) => keysOf(source, name)); // biome-ignore format: one line
  expect(all.length).toBeGreaterThan(70);
});
