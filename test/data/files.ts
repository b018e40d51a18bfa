import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach } from '@jest/globals';

/** A folder of its own for each test of the file that calls this. */
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

/** How often the event loop turned while `work` ran: a count of its rests that holds on a busy machine, as no time does. */
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
