// The page in a real browser, with a real training command.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { type Watch, watch } from '../../lib/watch/server.js';
import { chromiumPath, expectAccessible, kPhone, launch, openPage } from '../http/browser.js';

const inBrowser = chromiumPath === undefined ? describe.skip : describe;

inBrowser('the page', () => {
  let dir: string;
  let browser: Browser;
  let page: Watch;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'heed-watch-'));
    hostileRun(join(dir, 'hostile'));
    browser = await launch();
    page = await watch([dir], { port: 0 });
  });
  afterAll(async () => {
    await page.close();
    await browser.close();
    rmSync(dir, { recursive: true });
  });

  test('shows texts as texts, in several sizes and colours, and is accessible', async () => {
    for (const options of [{}, { viewport: kPhone, colorScheme: 'dark' as const }]) {
      const { page: tab, elsewhere, errors, close } = await openPage(browser, page.url, options);
      await tab.getByText('<img src=x onerror=alert(1)>').first().waitFor();
      await tab.getByText('answers got', { exact: false }).waitFor();
      expect(await tab.locator('img').count()).toBe(0);
      await tab.locator('.uplot canvas').first().waitFor();
      await expectAccessible(tab);
      const wide = await tab.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth');
      expect(wide).toBe(false);
      expect([elsewhere, errors]).toEqual([[], []]);
      await close();
    }
  });

  test('pauses, continues, stops and resumes a training command', async () => {
    const out = join(dir, 'sft');
    const data = join(dir, 'demos.jsonl');
    writeFileSync(
      data,
      Array.from({ length: 60 }, (_, i) => `${JSON.stringify({ prompt: `Say ${i}.`, response: ` ${i}.` })}\n`).join(''),
    );
    const program = resolve('dist/lib/cli/main.js');
    const options = ['--model', resolve('models/base'), '--data', data, '--out', out, '--epochs', '5000'];
    const child = spawn(process.execPath, [program, 'sft', ...options, '--batch-size', '4'], {
      env: { ...process.env, HEED_THREADS: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (text) => {
      said += text;
    });
    const ended = new Promise((done) => child.once('exit', done));
    const { page: tab, errors, close } = await openPage(browser, page.url);
    const steps = () => readFileSync(join(out, 'metrics.jsonl'), 'utf8').split('\n').length - 1;
    const status = (text: string) =>
      tab
        .getByRole('status')
        .filter({ hasText: new RegExp(`^${text}$`) })
        .waitFor();

    await tab.getByRole('heading', { name: `SFT: ${out}` }).waitFor();
    await status('running');
    await tab.getByRole('button', { name: 'Pause' }).click();
    await status('paused');
    const held = steps();
    await new Promise((done) => setTimeout(done, 800));
    expect(steps()).toBe(held);
    await tab.getByRole('button', { name: 'Continue' }).click();
    await status('running');
    while (steps() === held) await new Promise((done) => setTimeout(done, 50));
    await tab.getByRole('button', { name: 'Stop', exact: true }).click();
    await tab.getByRole('button', { name: 'Stop it: it saves first' }).click();
    expect(await ended).toBe(130);
    expect(said).toContain(`continue with: heed sft --out ${out} --resume`);
    const saved = steps();
    expect(said).toContain(`${out} is saved at step ${saved}`);

    // A run that was stopped is not the page's first choice any more.
    await tab.getByRole('button', { name: out }).click();
    await status('stopped');
    await tab.getByRole('button', { name: `Resume from step ${saved}` }).click();
    await status('running');
    while (steps() <= saved) await new Promise((done) => setTimeout(done, 50));
    await tab.getByRole('button', { name: 'Stop', exact: true }).click();
    await tab.getByRole('button', { name: 'Stop it: it saves first' }).click();
    await status('stopped');
    expect(errors).toEqual([]);
    await close();
  }, 180_000);
});

/** A run whose texts are markup, and whose answers got longer. */
function hostileRun(dir: string): void {
  mkdirSync(dir);
  const rows = Array.from({ length: 60 }, (_, i) => ({
    step: i + 1,
    iteration: i + 1,
    score: i / 60,
    kl: i / 10,
    length: 20 + i,
    warnings: ['<script>alert(2)</script>'],
    tokensComputed: 1000,
    seconds: 1,
    percentOfPeak: 50,
  }));
  const lines = (all: readonly unknown[]) => all.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(join(dir, 'metrics.jsonl'), lines(rows));
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify({ command: 'ppo', options: { policy: '"><b>bold</b>', stopAtKl: 7 } }),
  );
  const answers = [{ prompt: '<img src=x onerror=alert(1)>', text: '</p><script>alert(3)</script>' }];
  writeFileSync(
    join(dir, 'answers.jsonl'),
    lines([
      { step: 20, split: 'train', answers },
      { step: 60, split: 'train', answers },
    ]),
  );
}
