import { expect, test } from '@jest/globals';
import { chromium } from 'playwright-core';
import { evalPage } from '../../lib/evaluate/page.js';
import { winReport } from '../../lib/evaluate/wins.js';
import { chromiumPath } from '../label/browser.js';

if (!chromiumPath) console.warn('the width of the page is not tested: no Chromium');

(chromiumPath ? test : test.skip)(
  'the page fits a phone, however long the name of a model is',
  async () => {
    const model = `a_model_with_a_name_${'that_goes_on_'.repeat(8)}v1`;
    const comparisons = ['p', 'q'].map((prompt) => ({ prompt, a: 'base', b: model, outcome: 0 }));
    const page = evalPage({
      kind: 'eval',
      version: '1',
      date: '2026-01-01T00:00:00Z',
      command: `heed eval --outputs ${model}.jsonl`,
      models: ['base', model].map((name) => ({ model: name, from: 'file', outputs: 2 })),
      prompts: 2,
      wins: winReport([{ judge: 'j', comparisons, failed: 0 }]),
      figures: [],
      samples: [{ prompt: 'p', answers: [{ model, text: 'x' }] }],
      notes: [`${model} has no output to 1 of 3 prompts`],
    });
    const browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] });
    try {
      const window = await browser.newPage({ viewport: { width: 360, height: 800 } });
      await window.setContent(page);
      expect(await window.evaluate('document.documentElement.scrollWidth')).toBe(360);
    } finally {
      await browser.close();
    }
  },
  60_000,
);
