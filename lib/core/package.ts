/** The package's own folder and version. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Package {
  readonly root: string;
  readonly version: string;
}

/** Undefined where heed was bundled into a file of another package. */
function find(): Package | undefined {
  // A CommonJS bundle has no import.meta.url. Sources and compiled files are at different depths.
  const url = import.meta.url as string | undefined;
  if (url === undefined || !url.startsWith('file:')) return undefined;
  for (let dir = dirname(fileURLToPath(url)); ; dir = dirname(dir)) {
    const file = join(dir, 'package.json');
    if (existsSync(file)) {
      const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
      if (name === 'heed') return { root: dir, version: version ?? '' };
    }
    if (dir === dirname(dir)) return undefined;
  }
}

const found = find();

/** The folder with heed's package.json; undefined where heed was bundled. */
export const packageRoot: string | undefined = found?.root;
/** The version of this package. */
export const version: string = found?.version ?? 'bundled';
