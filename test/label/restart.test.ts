// A server that is killed at any moment: nothing that it acknowledged is lost, nothing is half written, and the page goes on.
import { type ChildProcess, spawn } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { openFeedback } from '../../lib/feedback/database.js';
import { feedbackRows } from '../../lib/feedback/rows.js';
import { heed } from '../cli/heed.js';
// @ts-expect-error plain JavaScript, which also runs by itself
import { inconsistencies } from './attack.mjs';
import { chromiumPath, useBrowser, windowOf } from './browser.js';
import { cookieOf, folder, fullAnswer, items, numberOf, onEnd, Person } from './desk.js';

const program = resolve('dist/lib/cli/main.js');

interface Running {
  readonly pid: number;
  readonly links: Readonly<Record<string, string>>;
  readonly url: string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** `heed label` as a user runs it. */
async function serve(dir: string, port: number): Promise<Running> {
  const args = [
    'label',
    'labels.db',
    '--prompts',
    'prompts.jsonl',
    '--k',
    '3',
    '--labelers',
    'Ada',
    'Bea',
    '--port',
    String(port),
  ];
  const child: ChildProcess = spawn(process.execPath, [program, ...args], {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((done) => child.on('close', () => done()));
  onEnd(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const links: Record<string, string> = {};
  let text = '';
  await new Promise<void>((done, failed) => {
    let out = '';
    child.stdout!.on('data', (chunk) => {
      out += chunk; // links alone, so that they can be kept in a file
      for (const [, name, link] of out.matchAll(/^(\w+): (http\S+)$/gm)) links[name!] = link!;
    });
    child.stderr!.on('data', (chunk) => {
      text += chunk;
      if (text.includes('Ctrl-C ends')) done();
    });
    child.on('close', () => failed(new Error(`heed label ended: ${text}`)));
  });
  return {
    pid: child.pid!,
    links,
    url: new URL(links.Ada!).origin,
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

function prepared(count: number): string {
  const dir = folder();
  writeFileSync(
    join(dir, 'prompts.jsonl'),
    items(count)
      .map((item) => JSON.stringify(item))
      .join('\n'),
  );
  return dir;
}

test('kill -9 while two people answer: every acknowledged answer and draft is there', async () => {
  const dir = prepared(400);
  const acknowledged = new Set<string>();
  const drafts = new Map<string, number>();
  let port = 0;
  const cookies: string[] = [];
  for (let round = 0; round < 3; round++) {
    const server = await serve(dir, port);
    port = Number(new URL(server.url).port);
    if (cookies.length === 0) for (const name of ['Ada', 'Bea']) cookies.push(await cookieOf(server.links[name]!));
    const people = cookies.map((cookie) => new Person(server.url, cookie)); // the cookies outlive the server
    let isAlive = true;
    const work = people.map(async (person, p) => {
      while (isAlive) {
        try {
          const task = await person.task();
          // A draft that was acknowledged before the server was killed is still there.
          if (drafts.has(`${p}/${task.id}`)) expect(task.draft?.seconds).toBe(drafts.get(`${p}/${task.id}`));
          const seconds = task.id + round / 10;
          const reply = await person.post(`api/tasks/${task.id}/draft`, { seconds });
          if (reply.status === 200) drafts.set(`${p}/${task.id}`, seconds);
          const answer = await person.submit(task, fullAnswer(task, numberOf));
          if (answer.status === 200) acknowledged.add(String(task.prompt));
        } catch (error) {
          if (isAlive && !/ECONN|socket hang up/.test(String(error))) throw error;
          await new Promise((done) => setTimeout(done, 5));
        }
      }
    });
    // In the middle of the requests that follow the last acknowledgement.
    const enough = acknowledged.size + 5 + round;
    while (acknowledged.size < enough) await new Promise((done) => setTimeout(done, round));
    await server.kill('SIGKILL');
    isAlive = false;
    await Promise.all(work);
  }
  expect(acknowledged.size).toBeGreaterThanOrEqual(5 + 6 + 7);
  const database = await openFeedback(join(dir, 'labels.db'));
  try {
    expect(inconsistencies(database)).toEqual([]);
    const kept = new Set([...feedbackRows(database, 'rankings')].map(({ prompt }) => prompt));
    expect([...acknowledged].filter((prompt) => !kept.has(prompt))).toEqual([]);
  } finally {
    database.close();
  }
});

test('a second process on the same file is refused in one sentence and changes nothing; after kill -9 the next one starts', async () => {
  const dir = prepared(3);
  writeFileSync(join(dir, 'more.jsonl'), '{"prompt": "another", "responses": ["a", "b"]}');
  symlinkSync('labels.db', join(dir, 'link.db'));
  const first = await serve(dir, 0);
  const ada = new Person(first.url, await cookieOf(first.links.Ada!));
  const task = await ada.task();
  for (const name of ['labels.db', 'link.db']) {
    const { status, stdout, stderr } = await heed(['label', name, '--prompts', 'more.jsonl', '--port', '0'], {
      cwd: dir,
    });
    expect([status, stdout, stderr]).toEqual([
      1,
      '',
      `heed: ${name} is in use by another heed label (process ${first.pid}): stop that one first, or give this one a file of its own\n`,
    ]);
  }
  expect((await ada.get('api/session')).json().progress).toEqual({ done: 0, skipped: 0, left: 3 });
  // What only reads, or adds rows, need not wait.
  writeFileSync(
    join(dir, 'theirs.jsonl'),
    '{"prompt": "p", "responses": ["a", "b"], "ranks": [0, 1], "labeler": "Cem"}',
  );
  expect((await heed(['label', 'labels.db', '--import', 'theirs.jsonl'], { cwd: dir })).stderr).toContain('1 of 1');
  expect((await heed(['label', 'labels.db', '--export', '-'], { cwd: dir })).stdout).toContain('"Cem"');
  await first.kill('SIGKILL');
  const second = await serve(dir, 0);
  expect(await new Person(second.url, await cookieOf(second.links.Ada!)).task()).toEqual(task);
});

test('heed label without prompts, without enough responses, and with options that do not fit', async () => {
  const dir = prepared(1);
  writeFileSync(join(dir, 'few.jsonl'), '{"prompt": "p"}\n{"prompt": "q", "responses": ["a"]}');
  writeFileSync(join(dir, 'broken.jsonl'), '{"prompt": "p", "responses": "a"}');
  const fails = async (message: string, ...args: string[]) => {
    const { status, stderr } = await heed(['label', 'l.db', ...args], { cwd: dir });
    expect([status === 0, stderr]).toEqual([false, expect.stringContaining(message)]);
  };
  await fails('l.db has no prompts to label');
  await fails('broken.jsonl:1: responses is "a", expected a list of strings', '--prompts', 'broken.jsonl');
  await fails('prompts.jsonl:1: ranks is missing', '--attention', 'prompts.jsonl');
  await fails('--order uncertain needs --learn', '--prompts', 'few.jsonl', '--order', 'uncertain');
  await fails(
    'l.db has no prompt with enough distinct responses (2 have too few): --model DIR',
    '--prompts',
    'few.jsonl',
  );
  const shares = ['--repeats', '0.6', '--attention-fraction', '0.6'];
  await fails('--repeats is 0.6 and --attention-fraction 0.6', '--prompts', 'prompts.jsonl', ...shares);
  const some = ['--prompts', 'prompts.jsonl', 'few.jsonl', '--double', '1', '--labelers-per-item', '3'];
  const { status, stdout, stderr } = await heed(['label', 'f.db', ...some, '--port', '0'], {
    cwd: dir,
    interruptAt: 'Ctrl-C ends',
  });
  expect(stdout).toMatch(/^owner: http:\/\/127\.0\.0\.1:\d+\/\?key=[\w-]{32}\n$/);
  expect(stderr).toBe(
    '2 of 3 prompts have too few responses: --model DIR samples them\nlabels go to f.db; Ctrl-C ends\n' +
      'stopping: every label is saved (press Ctrl-C again to end at once)\n',
  );
  expect(status).toBe(0);
  const database = await openFeedback(join(dir, 'f.db'), { readOnly: true });
  expect(database.prepare('SELECT DISTINCT wanted FROM items').pluck().all()).toEqual([3]);
  database.close();
});

(chromiumPath ? describe : describe.skip)('in a browser', () => {
  useBrowser();

  test('the page goes on where it was when the server is back', async () => {
    const dir = prepared(2);
    const server = await serve(dir, 0);
    const page = await windowOf(server.links.Ada!);
    await page.locator('.step', { hasText: 'Response A' }).waitFor();
    await page.keyboard.press('6');
    await page.keyboard.press('Enter');
    await page.waitForResponse((reply) => reply.url().endsWith('/draft') && reply.ok());
    await server.kill('SIGKILL');
    for (const key of ['5', 'Enter', '4', 'Enter', '1', '1', '2', 'Enter']) await page.keyboard.press(key);
    await page.getByText('The server cannot be reached').waitFor();
    const again = await serve(dir, Number(new URL(server.url).port));
    expect(again.links.Ada).not.toBe(server.links.Ada);
    await page.getByRole('button', { name: 'Submit' }).click();
    await page.locator('.progress', { hasText: '1 done' }).waitFor();
    await page.reload();
    await page.locator('.progress', { hasText: '1 done' }).waitFor();
    await again.kill('SIGINT');
    const database = await openFeedback(join(dir, 'labels.db'));
    const rows = [...feedbackRows(database, 'rankings')];
    database.close();
    expect(rows).toMatchObject([{ labeler: 'Ada', ratings: [6, 5, 4], ranks: [0, 0, 1] }]);
  });
});
