// What a process does to its files, seen before every operation.
import fsp, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** Calls `before` ahead of every file operation of modules that are imported afterwards. */
export function watchDisk(before: () => void): void {
  const watch = (object: object, names: readonly string[], after?: (result: unknown) => void) => {
    const methods = object as Record<string, (...args: unknown[]) => Promise<unknown>>;
    for (const method of names) {
      const plain = methods[method]!.bind(object);
      methods[method] = async (...args) => {
        before();
        const result = await plain(...args);
        if (method === 'open') after?.(result);
        return result;
      };
    }
  };
  watch(fsp, ['mkdir', 'writeFile', 'rename', 'rm', 'copyFile', 'open'], (file) =>
    watch(file as FileHandle, ['appendFile', 'writeFile', 'sync', 'close']),
  );
  syncBuiltinESMExports();
}
