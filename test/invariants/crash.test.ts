// From every state of the disk that a kill can leave while a checkpoint or the final model is written, the run ends like an
// uninterrupted one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { run } from '../phases/support/child.js';

// Step 15 saves a third checkpoint, so that the oldest goes; in PPO it is in the middle of an iteration.
test.each(['sft', 'ppo'])(
  '%s',
  async (name) => {
    const dir = mkdtempSync(join(tmpdir(), 'heed-crash-'));
    try {
      const { states, wrong } = JSON.parse(await run('../../invariants/support/crash.ts', [name, dir, '15', '15']));
      expect(states).toBeGreaterThan(15);
      expect(wrong).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
  60_000,
);
