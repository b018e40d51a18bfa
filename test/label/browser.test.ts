// The page in a real browser: by keys, by drag, at the width of a desk and of a phone, for a screen reader.
import { describe, expect, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { chromiumPath, desktop, drag, phone, useBrowser, violations, windowOf } from './browser.js';
import { type Desk, items, numberOf, openDesk } from './desk.js';

const inBrowser = chromiumPath ? describe : describe.skip;
if (!chromiumPath)
  console.warn('no Chromium is here: set HEED_CHROMIUM to run the tests of the labelling page in a browser');

const link = async (desk: Desk, name = 'Ada') => `${desk.url}/${await desk.page.invite(name)}`;

/** The responses as shown, once the task is not the one before. */
async function shown(page: Page, done: number): Promise<void> {
  await page.locator('.progress', { hasText: `${done} done` }).waitFor();
  await page.locator('.task').waitFor();
}

const saved = (page: Page) => page.waitForResponse((reply) => reply.url().endsWith('/draft') && reply.ok());

inBrowser('in a browser', () => {
  useBrowser();

  test.each([
    ['desk', desktop],
    ['phone', phone],
  ])('ten items by keys alone at the width of a %s, with a reload in the middle', async (_, width) => {
    const desk = await openDesk({ prompts: items(10) });
    const page = await windowOf(await link(desk), width);
    for (let i = 0; i < 10; i++) {
      await shown(page, i);
      const seen: number[] = [];
      for (let k = 0; k < 3; k++) {
        await page.locator('.step', { hasText: `Response ${'ABC'[k]}` }).waitFor();
        const number = numberOf(await page.locator('.step + .card .text').innerText());
        seen.push(number);
        await page.keyboard.press(String(7 - number));
        if (number === 2) await page.keyboard.press('a');
        if (i === 4 && k === 1) {
          await saved(page);
          await page.reload();
          await page.locator('.step', { hasText: 'Response B' }).waitFor();
          expect(await page.getByRole('radio', { name: String(7 - number), exact: true }).isChecked()).toBe(true);
        }
        await page.keyboard.press('Enter');
      }
      await page.locator('.board').waitFor();
      // Responses 1 and 2 are equally good.
      for (const number of seen) await page.keyboard.press(String(1 + Math.min(1, number)));
      await page.keyboard.press('c');
      await page.keyboard.press('Enter');
    }
    await page.getByText('Everything is labelled').waitFor();
    expect(page.url()).not.toContain('key');
    const rows = [...feedbackRows(await desk.database(), 'rankings')];
    expect(rows).toHaveLength(10);
    for (const { responses, ranks, ratings, flags, confidence, seconds } of rows) {
      const numbers = (responses as string[]).map(numberOf);
      expect(ranks).toEqual(numbers.map((number) => Math.min(1, number)));
      expect(ratings).toEqual(numbers.map((number) => 7 - number));
      expect(flags).toEqual(numbers.map((number) => (number === 2 ? ['failsInstruction'] : [])));
      expect(confidence).toBe(3);
      expect(seconds).toBeLessThan(30);
    }
  });

  test.each([
    ['mouse', 'desk', desktop],
    ['touch', 'phone', phone],
    ['mouse', 'phone', { viewport: phone.viewport }],
  ] as const)('ten items by dragging: by %s, at the width of a %s', async (by, _, width) => {
    const desk = await openDesk({ prompts: items(10, 2), k: 2, rates: false });
    const page = await windowOf(await link(desk), width);
    for (let i = 0; i < 10; i++) {
      await shown(page, i);
      const numbers = (await page.locator('.board .text').allInnerTexts()).map(numberOf);
      // Every third time both share the first rank.
      for (const [k, number] of numbers.entries()) await drag(page, 'AB'[k]!, i % 3 === 0 ? 1 : 1 + number, by);
      await page.getByRole('button', { name: 'Submit' }).click();
    }
    await page.getByText('Everything is labelled').waitFor();
    const rows = [...feedbackRows(await desk.database(), 'rankings')];
    const found = rows.map(({ responses, ranks }) => {
      const isTie = (ranks as number[]).every((rank) => rank === 0);
      return isTie || String(ranks) === String((responses as string[]).map(numberOf)) ? isTie : 'wrong';
    });
    expect(found).toEqual(Array.from({ length: 10 }, (_, i) => i % 3 === 0));
  });

  test('what a screen reader says of ranks, names of all controls, and the order of the focus', async () => {
    const desk = await openDesk({ prompts: items(1), rates: false });
    const page = await windowOf(await link(desk));
    await page.locator('.board').waitFor();
    const said = page.locator('section > p[role="status"]');
    expect(await said.innerText()).toBe('');
    await page.keyboard.press('2');
    await said.getByText('Response A has rank 2, 2 not ranked yet', { exact: true }).waitFor();
    await page.keyboard.press('2');
    await said.getByText('Response B has rank 2, like A, 1 not ranked yet', { exact: true }).waitFor();
    await drag(page, 'C', 1, 'mouse');
    await said.getByText('Response C has rank 1, all are ranked', { exact: true }).waitFor();
    await page.getByLabel('Rank of response B').selectOption({ label: '–' });
    await said.getByText('Response B has no rank, 1 not ranked yet', { exact: true }).waitFor();
    await page.getByLabel('Rank of response B').selectOption({ label: '3' });
    await said.getByText('Response B has rank 3, all are ranked', { exact: true }).waitFor();

    await page.locator('h2.step').focus();
    const stops: string[] = [];
    for (let k = 0; k < 10; k++) {
      await page.keyboard.press('Tab');
      stops.push(
        (await page.evaluate(
          `(document.activeElement.getAttribute('aria-label') ?? document.activeElement.closest('label')?.innerText ?? document.activeElement.innerText).replace(/\\s+/g, ' ').trim()`,
        )) as string,
      );
    }
    expect(stops.slice(0, 9)).toEqual([
      'Response C',
      'Rank of response C',
      'Response A',
      'Rank of response A',
      'Response B',
      'Rank of response B',
      expect.stringMatching(/^Low/),
      expect.stringMatching(/^Submit/),
      expect.stringMatching(/^Skip/),
    ]);
  });

  test('two people at once, an undo, a skip with a reason', async () => {
    const desk = await openDesk({ prompts: items(6), rates: false });
    const [ada, bea] = [await windowOf(await link(desk)), await windowOf(await link(desk, 'Bea'))];
    const rank = async (page: Page, done: number) => {
      await shown(page, done);
      const prompt = await page.locator('.prompt .text').innerText();
      for (const key of '123') await page.keyboard.press(key);
      await page.keyboard.press('Enter');
      await page.locator('.progress', { hasText: `${done + 1} done` }).waitFor();
      return prompt;
    };
    const prompts = await Promise.all([rank(ada, 0), rank(bea, 0)]);
    expect(prompts[0]).not.toBe(prompts[1]);
    await ada.keyboard.press('u');
    await ada.locator('.progress', { hasText: '0 done' }).waitFor();
    expect(await ada.locator('.prompt .text').innerText()).toBe(prompts[0]);
    expect(await ada.locator('ul[data-rank="0"] .card').count()).toBe(1); // its answers are back
    await ada.keyboard.press('Enter');
    await ada.locator('.progress', { hasText: '1 done' }).waitFor();
    await bea.keyboard.press('s');
    await bea.getByLabel('Another reason').check();
    await bea.getByLabel('The reason').fill('<b>twice</b> the same');
    await bea.getByRole('dialog').getByRole('button', { name: 'Skip' }).click();
    await bea.getByRole('dialog').waitFor({ state: 'detached' });
    await rank(ada, 1);
    const { skips, labels } = await desk.page.overview();
    expect([skips, labels]).toEqual([[{ reason: '<b>twice</b> the same', count: 1 }], 3]);
  });

  test('what is answered is still there after a look at the overview', async () => {
    const desk = await openDesk({ prompts: items(1) });
    const page = await windowOf(await link(desk, 'owner'));
    await page.locator('.step', { hasText: 'Response A' }).waitFor();
    for (const key of ['6', 'Enter', '5']) await page.keyboard.press(key);
    const sent = page.waitForResponse(
      (reply) => reply.url().endsWith('/draft') && reply.request().postData()!.includes('5'),
    );
    await page.getByRole('link', { name: 'Overview' }).click();
    await Promise.all([sent, page.getByRole('heading', { name: 'Overview' }).waitFor()]);
    await page.getByRole('link', { name: 'Back to labelling' }).click();
    await page.locator('.step', { hasText: 'Response B' }).waitFor();
    expect(await page.getByRole('radio', { name: '5', exact: true }).isChecked()).toBe(true);
  });

  test('markup in prompts, responses, guidelines and names is text, or is removed', async () => {
    const evil = (n: number) =>
      `<img src=x onerror="window.broken=${n}"><script>window.broken=${n}</script><b>bold ${n}</b>`;
    const desk = await openDesk({
      prompts: [{ prompt: evil(1), responses: [evil(2), evil(3), `javascript:window.broken=4`] }],
      rates: false,
      guidelines: `# Rules\n\n**bold** ${evil(5)}\n\n[link](javascript:window.broken=6) <form action=http://other><input name=x></form><iframe src=http://other></iframe><style>body{display:none}</style>`,
      owner: '<b>Olga</b>',
    });
    const page = await windowOf(await link(desk, '<b>Olga</b>'));
    await page.locator('.task').waitFor();
    expect(await page.locator('.prompt .text').innerText()).toBe(evil(1));
    expect(await page.locator('.board .text').allInnerTexts()).toEqual(expect.arrayContaining([evil(2), evil(3)]));
    expect(await page.locator('.progress').innerText()).toContain('<b>Olga</b>');
    const guidelines = page.locator('.guidelines');
    expect(await guidelines.locator('strong').innerText()).toBe('bold');
    expect(await guidelines.locator('script, iframe, form, input, style').count()).toBe(0);
    expect(await guidelines.innerHTML()).not.toMatch(/onerror|javascript:/);
    for (const key of '111') await page.keyboard.press(key);
    await page.keyboard.press('Enter');
    await page.getByText('Everything is labelled').waitFor();
    await page.goto(`${desk.url}/#overview`);
    await page.getByRole('rowheader', { name: '<b>Olga</b>' }).waitFor();
    expect(await page.evaluate('window.broken')).toBeUndefined();
  });

  test('axe finds nothing in any view, and the other modes work by keys', async () => {
    const desk = await openDesk({
      prompts: items(6),
      double: 0.999,
      guidelines: '# Rules\n\n- be [kind](#x)\n\n![](data:,)',
    });
    const [ada, bea] = [await desk.person('Ada'), await desk.person('owner')];
    for (let i = 0; i < 3; i++) {
      await ada.label(numberOf);
      await bea.label((text) => 2 - numberOf(text));
    }
    const found: Record<string, string[]> = {};
    for (const [width, options] of Object.entries({ desktop, phone, dark: { ...desktop, colorScheme: 'dark' } })) {
      const page = await windowOf(await link(desk, 'owner'), options);
      const check = async (what: string) => {
        if (width !== 'desktop' && what !== 'ranking' && what !== 'overview') return;
        found[`${what}, ${width}`] = await violations(page);
      };
      await page.locator('.scale').waitFor();
      await check('rating');
      await page.keyboard.press('?');
      await page.getByRole('dialog').waitFor();
      await check('keys');
      await page.keyboard.press('Escape');
      await page.keyboard.press('s');
      await page.getByRole('dialog').waitFor();
      await check('skipping');
      await page.keyboard.press('Escape');
      for (const key of ['5', 'Enter', '5', 'Enter', '5', 'Enter']) await page.keyboard.press(key);
      await page.locator('.board').waitFor();
      await page.keyboard.press('2');
      await check('ranking');
      for (let k = 0; k < 3; k++) await page.keyboard.press('Backspace');
      await page.locator('.step', { hasText: 'Response A' }).waitFor();
      await page.goto(`${desk.url}/#overview`);
      await page.locator('details.card').first().waitFor();
      await page.locator('details.card summary').first().click();
      await check('overview');
    }
    for (const [mode, keys, k] of [
      ['pair', ['3', 'z', 'Enter'], 2],
      ['thumb', ['1', '2', 'Enter'], 2],
      ['demonstrate', [], 0],
    ] as const) {
      const other = await openDesk({ prompts: items(1, 2), mode, k });
      const page = await windowOf(await link(other));
      await page.locator('.task').waitFor();
      found[mode] = await violations(page);
      for (const key of keys) await page.keyboard.press(key);
      if (mode === 'demonstrate') {
        await page.getByLabel('Your response').fill('Mine.');
        await page.keyboard.press('Control+Enter');
      }
      await page.getByText('Everything is labelled').waitFor();
      expect((await other.page.overview()).labels).toBe(1);
      found[`${mode}, done`] = await violations(page);
    }
    expect(Object.keys(found)).toHaveLength(15);
    expect(Object.entries(found).filter(([, list]) => list.length > 0)).toEqual([]);
  });
});
