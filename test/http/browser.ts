/** A real browser for tests of pages: Chromium, where it is installed. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect } from '@jest/globals';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const places = [
  process.env.HEED_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Undefined where there is none: tests then skip, saying so. */
export const chromiumPath = places.find((path) => path !== undefined && existsSync(path));

if (chromiumPath === undefined)
  console.warn('no Chromium is here: tests of pages are skipped; install it or set HEED_CHROMIUM to its path');

export async function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath!, args: ['--no-sandbox'] });
}

export const kDesktop = { width: 1280, height: 900 };
export const kPhone = { width: 390, height: 800 };

/** A page that notes what goes wrong in it. */
export interface Watched {
  readonly page: Page;
  /** Requests to other servers than the page's own. */
  readonly elsewhere: string[];
  /** Errors and failed scripts, as the console says them. */
  readonly errors: string[];
  close(): Promise<void>;
}

export async function openPage(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await browser.newContext({ viewport: kDesktop, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000); // other tests run beside
  const elsewhere: string[] = [];
  const errors: string[] = [];
  const { origin } = new URL(url);
  page.on('request', (request) => {
    const asked = new URL(request.url());
    if (asked.protocol !== 'data:' && asked.origin !== origin) elsewhere.push(request.url());
  });
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(url);
  return { page, elsewhere, errors, close: () => context.close() };
}

/** Fails with what axe finds: WCAG 2.2 A and AA, and its best practices. */
export async function expectAccessible(page: Page): Promise<void> {
  const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  // By the browser's protocol: the page's own policy allows no script but its own.
  const violations = await page.evaluate(`(async () => {
    ${source}
    const { violations } = await axe.run();
    return violations.map(({ id, help, nodes }) => id + ': ' + help + ' ' + nodes.map((node) => node.html).join(' ').slice(0, 300));
  })()`);
  expect(violations).toEqual([]);
}
