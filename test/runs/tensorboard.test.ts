import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { EventFile, scalarsOf } from '../../lib/runs/tensorboard.js';

const dir = mkdtempSync(join(tmpdir(), 'heed-events-'));
afterAll(() => rmSync(dir, { recursive: true }));

const steps = [
  { step: 1, loss: 2.5, rewards: { 'reward/a': 0.25 }, warnings: ['x'], best: true },
  { step: 300, loss: -1e-7, tokens: 123456 },
];

test('numbers within objects have the names of both; lists, texts and what is missing are left out', () => {
  const row = { step: 4, loss: 1, none: null, no: undefined, list: [1, 2], inner: { a: 2, step: 3, deep: { b: 0 } } };
  expect(scalarsOf(row)).toEqual([
    ['loss', 1],
    ['inner/a', 2],
    ['inner/deep/b', 0],
  ]);
});

/** CRC-32C bit by bit. */
function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
const masked = (data: Uint8Array) => {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

async function written(name: string): Promise<string> {
  const events = await EventFile.open(join(dir, name));
  for (const { step, ...metrics } of steps) await events.append(step, metrics);
  await events.close();
  return join(dir, name, readdirSync(join(dir, name))[0]!);
}

test('records have their length and checksums', async () => {
  const file = readFileSync(await written('records'));
  const records: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(data));
    records.push(data);
    at += 16 + length;
  }
  expect(records).toHaveLength(3);
  expect(records[0]!.toString('latin1')).toContain('brain.Event:2');
  // A value: tag `loss`, and the number as a 32-bit float.
  const loss = Buffer.from([0x0a, 4, ...Buffer.from('loss'), (2 << 3) | 5, 0, 0, 0x20, 0x40]); // 2.5
  expect(records[1]!.includes(loss)).toBe(true);
  const [name] = readdirSync(join(dir, 'records'));
  const seconds = Number(name!.match(/^events\.out\.tfevents\.(\d+)\./)![1]);
  for (const time of [seconds, ...records.map((each) => each.readDoubleLE(1))])
    expect(Math.abs(time - Date.now() / 1000)).toBeLessThan(60);
  // The step as a varint after the time: 300 is 0xac 0x02.
  expect([...records[2]!.subarray(9, 12)]).toEqual([0x10, 0xac, 0x02]);
});

const python = process.env.HEED_PYTHON ?? 'python3';
const reader = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1]); found.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}))
`;
let hasTensorboard = true;
try {
  execFileSync(python, ['-c', 'import tensorboard.backend.event_processing.event_accumulator'], { stdio: 'ignore' });
} catch {
  hasTensorboard = false;
}

(hasTensorboard ? test : test.skip)(
  'TensorBoard reads the numbers (skipped without it in Python)',
  async () => {
    await written('read');
    const found = JSON.parse(
      execFileSync(python, ['-c', reader, join(dir, 'read')], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
    expect(found).toEqual({
      loss: [
        [1, 2.5],
        [300, Math.fround(-1e-7)],
      ],
      tokens: [[300, 123456]],
      'rewards/reward/a': [[1, 0.25]],
    });
  },
  60_000,
);

test('a folder that cannot be written is named', async () => {
  await expect(EventFile.open('/dev/null/x')).rejects.toThrow('cannot write events to /dev/null/x');
});
