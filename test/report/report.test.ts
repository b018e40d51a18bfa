import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  type AlignReport,
  type PhaseReport,
  readReport,
  renderHtml,
  summarySvg,
  writeReport,
} from '../../lib/report/index.js';
import { exampleCurves, exampleReport } from './example.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'heed-report-'));
});
afterEach(() => rm(dir, { recursive: true }));

const jsonl = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** Checks that all tags are closed in order, and that there are no external resources. */
function expectWellFormed(text: string): void {
  const open: string[] = [];
  for (const [tag, close, name, self] of text.matchAll(
    /<(\/?)([a-z][a-z0-9]*)\b(?:"[^"]*"|'[^']*'|[^"'>/]|\/(?!>))*(\/?)>/gi,
  )) {
    if (close) expect({ tag, closes: open.pop() }).toEqual({ tag, closes: name });
    else if (!self && name !== 'meta') open.push(name!);
  }
  expect(open).toEqual([]);
  const elsewhere = text.match(/<script|<link|<img|<iframe|url\(|@import|https?:\/\/(?!www\.w3\.org\/)[^"' ]*/g);
  expect(elsewhere).toBeNull();
  expect(text.match(/\bNaN\b|undefined|\[object|Infinity/g)).toBeNull();
}

describe('a run of the main job', () => {
  test('the page shows only numbers of report.json', async () => {
    const report = exampleReport();
    const file = await writeReport(dir, report);
    expect(JSON.parse(await readFile(join(dir, 'report.json'), 'utf8'))).toEqual(report);
    const page = await readFile(file, 'utf8');
    expectWellFormed(page);
    for (const { rate, wins, losses } of [...report.winRates, ...report.winRatesGreedy]) {
      expect(page).toContain(`${(100 * rate).toFixed(1)} %`);
      expect(page).toContain(`<td class="number">${wins}</td>`);
      expect(page).toContain(`<td class="number">${losses}</td>`);
    }
    for (const { alpha, beta } of report.overoptimisation.fits) {
      expect(page).toContain(alpha.toFixed(3));
      expect(page).toContain(beta.toFixed(3));
    }
    for (const { loss } of report.proseLoss) expect(page).toContain(loss.toFixed(3));
    expect(page.match(/class="sample"/g)).toHaveLength(report.samples.items.length);
    expect(page).toContain('Say &#60;again&#62;');
    expect(page).not.toContain('<again>');
    expect(page).toContain('prefers-color-scheme: dark');
  });

  test('the verdict is decided by the interval, not by the rate', () => {
    const lead = (low: number, high: number) => {
      const report = exampleReport();
      const winRates = report.winRates.map((rate) =>
        rate.model === 'ppo-ptx' && rate.against === 'sft' ? { ...rate, rate: (low + high) / 2, low, high } : rate,
      );
      return renderHtml({ ...report, winRates });
    };
    expect(lead(0.58, 0.66)).toContain('PPO-ptx beats SFT');
    expect(lead(0.49, 0.61)).toContain('PPO-ptx does not differ from SFT');
    expect(lead(0.4, 0.48)).toContain('PPO-ptx loses to SFT');
  });

  test('is read again as it was written', async () => {
    await writeReport(dir, exampleReport());
    const first = await readFile(join(dir, 'report.html'), 'utf8');
    await writeReport(dir);
    expect(await readFile(join(dir, 'report.html'), 'utf8')).toBe(first);
  });

  test('missing measurements are left out', () => {
    const report: AlignReport = {
      ...exampleReport(),
      winRatesByCriterion: [],
      winRatesByFamily: [],
      exactByFamily: [],
      behaviour: [],
      conduct: [],
      proseLoss: [],
      overoptimisation: { policies: [], bestOfN: [], fits: [] },
      samples: { rule: '', items: [] },
      timing: [],
      winRatesGreedy: [],
    };
    const page = renderHtml(report);
    expectWellFormed(page);
    expect(page).not.toContain('Results by family');
    expect(page).toContain('How often the judge prefers');
  });

  test('the SVG is self-contained', async () => {
    const report = exampleReport();
    await writeReport(dir, report);
    const picture = await readFile(join(dir, 'report.svg'), 'utf8');
    expect(picture).toBe(summarySvg(report));
    expectWellFormed(picture);
    expect(picture).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    for (const { rate } of report.winRates) expect(picture).toContain(`${(100 * rate).toFixed(1)} %`);
    expect(picture).toContain('--ppoptx:'); // the colour variables
  });

  test('a report without a field is named', async () => {
    const { timing: _, ...report } = exampleReport();
    await writeFile(join(dir, 'report.json'), JSON.stringify(report));
    await expect(readReport(dir)).rejects.toThrow(`${join(dir, 'report.json')}: timing is missing`);
  });
});

describe('one phase', () => {
  test.each(exampleCurves().map((curve) => [curve.phase, curve] as const))('%s', async (phase, { points }) => {
    await writeFile(
      join(dir, 'metrics.jsonl'),
      jsonl(points.map((point) => ({ ...point, warnings: ['text'], best: true }))),
    );
    await writeFile(join(dir, 'config.json'), JSON.stringify({ phase, learningRate: 1e-3 }));
    await writeFile(
      join(dir, 'result.json'),
      JSON.stringify({ validation: { accuracy: 0.7251, pairs: 400 }, offsetFrom: 'demonstrations' }),
    );
    await writeFile(
      join(dir, 'samples.jsonl'),
      jsonl([
        {
          prompt: 'Why?',
          answers: [
            { model: 'before', text: '<none>' },
            { model: 'after', text: 'because' },
          ],
        },
      ]),
    );
    const page = await readFile(await writeReport(dir), 'utf8');
    expectWellFormed(page);
    const report = JSON.parse(await readFile(join(dir, 'report.json'), 'utf8')) as PhaseReport;
    expect(report).toMatchObject({ kind: 'phase', phase, curves: [{ phase, points }] });
    expect(report.summary).toContainEqual({ name: 'held out: accuracy', value: 0.7251 });
    expect(report.summary).toContainEqual({ name: 'optimizer steps', value: String(points.length) });
    expect(page).toContain('&#60;none&#62;');
    expect(page.match(/<figure>/g)!.length).toBeGreaterThanOrEqual(2);
    // A second report is made from the run, not from the first report.
    expect(await writeReport(dir)).toBe(join(dir, 'report.html'));
  });

  test('warnings are sentences, changes have their sign, and answers say which prompts they are to', async () => {
    await writeFile(join(dir, 'metrics.jsonl'), jsonl([{ step: 1, loss: 2 }]));
    const read = (await readReport(dir)) as PhaseReport;
    const sample = (split?: string) => ({ prompt: 'Why?', answers: [{ model: 'after', text: 'x' }], split });
    const page = (changes: Partial<PhaseReport>) => renderHtml({ ...read, ...changes });
    const warned = page({ warnings: ['the KL is 9', 'the score fell'] });
    expect(warned).toContain('<li>The KL is 9.</li><li>The score fell.</li>');
    expect(page({})).not.toContain('<h2>Warnings</h2>');
    const changes = [
      { name: 'loss', first: 2, last: 1.5, share: false },
      { name: 'accuracy', first: 0.5, last: 0.75, share: true },
      { name: 'same', first: 3, last: 3, share: false },
    ];
    const cells = [...page({ changes }).matchAll(/<td[^>]*>([^<]*)<\/td>/g)].map(([, text]) => text);
    const rows = ['loss', 'accuracy', 'same'].map((name) => cells.slice(cells.indexOf(name), cells.indexOf(name) + 4));
    expect(rows).toEqual([
      ['loss', '2', '1.50', '-0.500'],
      ['accuracy', '50.0 %', '75.0 %', '+25.0 %'],
      ['same', '3', '3', '0'],
    ]);
    const notes = ['not trained on', 'of the training data', 'As written by the run'];
    const noteOf = (...splits: (string | undefined)[]) => {
      const text = page({ samples: splits.map(sample) as PhaseReport['samples'] });
      return notes.filter((note) => text.includes(note));
    };
    expect(noteOf('validation', 'test')).toEqual(notes.slice(0, 1));
    expect(noteOf('validation', 'train')).toEqual(notes.slice(1, 2));
    expect(noteOf('validation', undefined)).toEqual(notes.slice(2));
    expect(noteOf()).toEqual([]);
  });

  test('the phase of a folder without configuration is inferred from its metrics', async () => {
    await writeFile(join(dir, 'metrics.jsonl'), jsonl([{ step: 1, loss: 2, valueLoss: 1 }]));
    expect(await readReport(dir)).toMatchObject({ phase: 'ppo', config: {} });
    await writeFile(join(dir, 'metrics.jsonl'), '');
    expectWellFormed(renderHtml(await readReport(dir)));
  });

  test('bad files are named with their line', async () => {
    const file = join(dir, 'metrics.jsonl');
    await expect(readReport(dir)).rejects.toThrow(`${file}: is missing: ${dir} is not a run of heed`);
    await writeFile(file, '{"step": 1}\n\n{"step":\n');
    await expect(readReport(dir)).rejects.toThrow(`${file}:3: is not valid JSON`);
    await writeFile(file, '{"step": 1}\n{"loss": 1}\n');
    await expect(readReport(dir)).rejects.toThrow(`${file}:2: step is missing, expected a number`);
    await writeFile(file, '{"step": 1}\n');
    await writeFile(join(dir, 'samples.jsonl'), '{"prompt": "a"}\n');
    await expect(readReport(dir)).rejects.toThrow(
      `${join(dir, 'samples.jsonl')}:1: answers is missing, expected a list`,
    );
  });
});
