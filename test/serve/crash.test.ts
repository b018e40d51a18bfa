// kill -9 at any moment of a promotion and of a rollback: the service starts with a version that was tested, whole, and learns on.
import { expect, test } from '@jest/globals';
import { run } from '../phases/support/child.js';
import { folder } from './service.js';

test('from every state of the disk it serves a whole version, and the next has the next number', async () => {
  const { current, states, found } = JSON.parse(await run('../../serve/support/crash.ts', [folder()]));
  expect(current).toBe(1);
  expect(states).toBeGreaterThan(10);
  const kinds = new Set<string>();
  const next: number[] = [];
  for (const each of found) {
    expect(each).toMatchObject({ isRight: true }); // or `failed`, which says why
    kinds.add(`${each.served} of ${each.listed}`);
    if (each.next !== undefined) next.push(each.next);
  }
  expect(next).toEqual([1]); // with the bits of the uninterrupted version, over what the kill had left
  expect([...kinds].sort()).toEqual(['0 of 1', '0 of 2', '1 of 2']);
}, 120_000);
