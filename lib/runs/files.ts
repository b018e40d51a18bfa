/** Files that are never half written. */
import { open, rename, rm } from 'node:fs/promises';

/** Writes a file completely or not at all, even if the process is killed. */
export async function writeFileAtomic(path: string, text: string): Promise<void> {
  const unfinished = `${path}.tmp`;
  try {
    await writeFlushed(unfinished, text);
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => {});
    throw error;
  }
}

/** Writes a file and flushes it to the disk. */
export async function writeFlushed(path: string, text: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
