import { expect, test } from '@jest/globals';
import { Admission } from '../../lib/serve/admission.js';

const never = new AbortController().signal;

test('slots are given in the order of arrival, several at once, and who leaves the queue takes none', async () => {
  const admission = new Admission(3, 4);
  const first = await admission.enter(2, never);
  const order: string[] = [];
  const enter = (name: string, slots: number, signal = never) =>
    admission.enter(slots, signal).then((leave) => {
      order.push(name);
      return leave;
    });
  const leaving = new AbortController();
  const big = enter('big', 3, leaving.signal);
  const refusedBig = big.catch((error: unknown) => error);
  const small = enter('small', 1); // there is room, but not before its turn
  const other = enter('other', 2);
  await undefined;
  expect([admission.waiting, admission.busy, order]).toEqual([3, 2, []]);
  const gone = new Error('gone');
  leaving.abort(gone);
  expect(await refusedBig).toBe(gone);
  const leaveSmall = await small;
  expect([admission.waiting, admission.busy, order]).toEqual([1, 3, ['small']]);
  first();
  first(); // once is enough
  const leaveOther = await other;
  expect([admission.waiting, admission.busy]).toEqual([0, 3]);
  leaveSmall();
  leaveOther();
  expect(admission.busy).toBe(0);
  await expect(admission.enter(1, AbortSignal.abort(gone))).rejects.toBe(gone);
  expect(admission.busy).toBe(0);
});

test('without a queue: full only while every slot is busy', async () => {
  const admission = new Admission(2, 0);
  expect(admission.isFull).toBe(false);
  const first = await admission.enter(1, never);
  expect(admission.isFull).toBe(false);
  await expect(admission.enter(2, never)).rejects.toMatchObject({ statusCode: 429, code: 'rate_limit_exceeded' });
  const second = await admission.enter(1, never);
  expect(admission.isFull).toBe(true);
  await expect(admission.enter(1, never)).rejects.toMatchObject({ statusCode: 429 });
  first();
  second();
  expect(admission.isFull).toBe(false);
});

test('more than wait already are refused, and more answers than are decoded or wait', async () => {
  const admission = new Admission(1, 1);
  const leave = await admission.enter(1, never);
  const waiting = admission.enter(1, never);
  expect(admission.isFull).toBe(true);
  await expect(admission.enter(1, never)).rejects.toMatchObject({ statusCode: 429, headers: { 'retry-after': '1' } });
  await expect(admission.enter(3, never)).rejects.toMatchObject({ statusCode: 400, param: 'n' });
  leave();
  (await waiting)();
  expect([admission.busy, admission.waiting, admission.isFull]).toEqual([0, 0, false]);
});
