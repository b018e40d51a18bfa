import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach } from '@jest/globals';

/** Makes a new folder for each test of the calling file. */
export function temporaryFolder() {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'heed-data-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  return {
    path: (name: string) => join(dir, name),
    /** Writes bytes or text as they are, other values as JSON Lines; `.gz` is compressed. */
    write(name: string, content: string | Uint8Array | readonly unknown[]): string {
      const text = Array.isArray(content) ? content.map((row) => `${JSON.stringify(row)}\n`).join('') : content;
      const bytes = Buffer.from(text as string);
      writeFileSync(join(dir, name), name.endsWith('.gz') ? gzipSync(bytes) : bytes);
      return join(dir, name);
    },
  };
}

/** Counts the turns of the event loop while `work` ran, which unlike times does not depend on the machine's load. */
export async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let done = false;
  const turn = () => {
    if (done) return;
    turns++;
    setImmediate(turn);
  };
  setImmediate(turn);
  await work().finally(() => {
    done = true;
  });
  return turns;
}
