/** A real browser, and what a person does in it. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, expect } from '@jest/globals';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { onEnd } from './desk.js';

export const chromiumPath = [
  process.env.HEED_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find((path) => path !== undefined && existsSync(path));

let browser: Browser;
/** Starts a browser for the tests of a file. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] });
  });
  afterAll(() => browser.close());
}

export const desktop = { viewport: { width: 1280, height: 900 } };
export const phone = { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true };

/** A window of its own, as of another person. It fails the test when it asks another machine for anything, or a script fails. */
export async function windowOf(link: string, options: object = desktop): Promise<Page> {
  const context: BrowserContext = await browser.newContext({ reducedMotion: 'reduce', ...options });
  const problems: string[] = [];
  const { host } = new URL(link);
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.host !== host) problems.push(`it asked for ${request.url()}`);
  });
  context.on('weberror', (error) => problems.push(String(error.error())));
  onEnd(async () => {
    await context.close();
    expect(problems).toEqual([]);
  });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  await page.goto(link);
  return page;
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds wrong with the page as it is now. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as {
    violations: { id: string; help: string; nodes: { html: string }[] }[];
  };
  return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`);
}

/** Drags a response, by its letter, into a rank (from 1) with the mouse, or with a finger. */
export async function drag(page: Page, letter: string, rank: number, by: 'mouse' | 'touch'): Promise<void> {
  const name = page.locator('.card .name', { hasText: new RegExp(`^${letter}$`) });
  const target = page.locator(`ul[data-rank="${rank - 1}"]`);
  await name.scrollIntoViewIfNeeded();
  const from = (await name.boundingBox())!;
  const to = (await target.boundingBox())!;
  const points = [0, 0.05, 0.5, 1, 1].map((share) => ({
    x: from.x + 4 + share * (to.x + 30 - from.x - 4),
    y: from.y + 6 + share * (to.y + Math.min(25, to.height / 2) - from.y - 6),
  }));
  if (by === 'mouse') {
    await page.mouse.move(points[0]!.x, points[0]!.y);
    await page.mouse.down();
    for (const { x, y } of points) await page.mouse.move(x, y);
    await page.mouse.up();
  } else {
    const session = await page.context().newCDPSession(page);
    const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', at?: { x: number; y: number }) =>
      session.send('Input.dispatchTouchEvent', { type, touchPoints: at ? [at] : [] });
    await touch('touchStart', points[0]);
    for (const point of points) await touch('touchMove', point);
    await touch('touchEnd');
    await session.detach();
  }
  // While it is dragged it is there already, but has no rank.
  await target.locator(`article:has(.name:text-is("${letter}")):has(option[value="${rank - 1}"]:checked)`).waitFor();
}
