import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version of this package. */
export const version: string = read(dirname(fileURLToPath(import.meta.url)));

// The sources and what is compiled from them stand at different depths below package.json.
function read(dir: string): string {
  const file = join(dir, 'package.json');
  if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  return read(dirname(dir));
}
