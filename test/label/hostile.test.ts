// What should not get in, and what must not break.
import { connect } from 'node:net';
import { expect, test } from '@jest/globals';
import { ask } from '../http/ask.js';
// @ts-expect-error plain JavaScript, which also runs by itself
import { attack, inconsistencies } from './attack.mjs';
import { cookieOf, items, numberOf, openDesk, Person } from './desk.js';

test('a key becomes a cookie that scripts and other sites cannot use; only its digest is kept', async () => {
  const desk = await openDesk({ prompts: items(1) });
  const invitation = await desk.page.invite('Ada');
  const key = invitation.slice('?key='.length);
  expect(key).toMatch(/^[\w-]{32}$/);
  const page = await ask(`${desk.url}/${invitation}`);
  expect([page.status, page.text]).toEqual([200, expect.stringContaining('src="app.js"')]); // no redirect, which would lose it
  const [cookie] = page.headers['set-cookie']!;
  expect(cookie).toMatch(/^heed-label-\w{8}=[\w-]+; Max-Age=\d+; HttpOnly; SameSite=Strict$/);
  const database = await desk.database();
  for (const table of ['keys', 'labelers'])
    for (const row of database.prepare(`SELECT * FROM ${table}`).all()) expect(JSON.stringify(row)).not.toContain(key);
  const ada = new Person(desk.url, cookie!.split(';')[0]!);
  expect((await ada.get('api/session')).json()).toMatchObject({ labeler: 'Ada', isOwner: false });
  // Another invitation leaves the first valid; revoking makes both invalid.
  await desk.page.invite('Ada');
  expect((await ada.get('api/session')).status).toBe(200);
  expect(await desk.page.revoke('Ada')).toBe(2);
  expect((await ada.get('api/session')).status).toBe(401);
});

test('without a valid key everything but the empty page is refused', async () => {
  const desk = await openDesk({ prompts: items(1) });
  const { cookie } = await desk.person('Ada');
  const [name, key] = cookie.split('=') as [string, string];
  const wrong = [
    '',
    `${name}=`,
    `${name}=${key}x`,
    `${name}=${key.slice(1)}`,
    `x${cookie}`,
    `${name}=${'0'.repeat(32)}`,
  ];
  for (const header of wrong) {
    const headers = { cookie: header };
    for (const path of ['api/session', 'api/overview'])
      expect([header, (await ask(`${desk.url}/${path}`, { headers })).status]).toEqual([header, 401]);
    for (const path of ['api/next', 'api/undo', 'api/tasks/1/submit', 'api/tasks/1/draft', 'api/tasks/1/skip'])
      expect([header, (await ask(`${desk.url}/${path}`, { headers, body: {} })).status]).toEqual([header, 401]);
  }
  const page = await ask(`${desk.url}/?key=wrong`);
  expect([page.status, page.headers['set-cookie']]).toEqual([200, undefined]);
  expect((await ask(`${desk.url}/api/session`, { headers: { cookie: `a=b; ${cookie}; c=d` } })).status).toBe(200);
});

test('the overview is the owner’s', async () => {
  const desk = await openDesk({ prompts: items(1), owner: 'Olga' });
  expect((await (await desk.person('Ada')).get('api/overview')).status).toBe(403);
  const olga = await desk.person('Olga');
  expect((await olga.get('api/session')).json().isOwner).toBe(true);
  expect((await olga.get('api/overview')).json().items.total).toBe(1);
});

test('requests of other sites, files outside the page and bodies that are too large are refused', async () => {
  const desk = await openDesk({ prompts: items(2) });
  const ada = await desk.person('Ada');
  const task = await ada.task();
  const { cookie } = ada;
  for (const headers of [
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
  ] as Record<string, string>[]) {
    const reply = await ask(`${desk.url}/api/tasks/${task.id}/skip`, {
      headers: { cookie, ...headers },
      body: { reason: 'x' },
    });
    expect(reply.status).toBe(403);
  }
  // A form of another site can send no JSON.
  const form = { cookie, 'content-type': 'application/x-www-form-urlencoded' };
  expect((await ask(`${desk.url}/api/tasks/${task.id}/skip`, { headers: form, body: 'reason=x' })).status).toBe(415);
  for (const path of [
    '../package.json',
    '%2e%2e/package.json',
    '..%2f..%2fpackage.json',
    'app.js/../../index.js',
    'style.css',
  ])
    expect([path, (await ask(`${desk.url}/${path}`, { headers: { cookie } })).status]).toEqual([path, 404]);
  const large = { text: 'x'.repeat(300_000) };
  expect((await ada.post(`api/tasks/${task.id}/draft`, large)).status).toBe(413);
  expect((await ada.task()).draft).toBeNull();
});

test('a hundred slow clients keep nobody waiting', async () => {
  const desk = await openDesk({ prompts: items(3) });
  const ada = await desk.person('Ada');
  const { hostname, port } = new URL(desk.url);
  const sockets = Array.from({ length: 100 }, (_, i) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    // Half of them stop in the headers, the others in the body.
    socket.write(
      `POST /api/next HTTP/1.1\r\nhost: ${hostname}\r\n${i % 2 ? 'content-type: application/json\r\ncontent-length: 50\r\n\r\n{' : 'x-slow'}`,
    );
    return socket;
  });
  for (let i = 0; i < 3; i++) await ada.label(numberOf);
  expect(await ada.next()).toEqual({ waiting: 'done', unusable: 0 });
  for (const socket of sockets) socket.destroy();
});

test('mutated requests never fail the server, and leave nothing half written', async () => {
  const desk = await openDesk({ prompts: items(300) });
  const cookie = await cookieOf(`${desk.url}/${await desk.page.invite('owner')}`);
  const statuses = await attack({ url: desk.url, cookie, count: 500, seed: 7 });
  expect(Object.keys(statuses).filter((status) => Number(status) >= 500)).toEqual([]);
  for (const status of [200, 400, 401, 403, 404]) expect(statuses[status]).toBeGreaterThan(5);
  const database = await desk.database();
  expect(database.prepare("SELECT count(*) FROM tasks WHERE state = 'done'").pluck().get()).toBeGreaterThan(5);
  expect(inconsistencies(database)).toEqual([]);
  await new Person(desk.url, cookie).label(numberOf);
});
