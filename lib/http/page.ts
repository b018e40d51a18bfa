/** A front end of `web/`, built into `dist/web/`, as routes. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { HeedError } from '../core/errors.js';
import { packageRoot } from '../core/package.js';

const files = {
  '': ['index.html', 'text/html; charset=utf-8'],
  'app.js': ['app.js', 'text/javascript; charset=utf-8'],
  'app.css': ['app.css', 'text/css; charset=utf-8'],
} as const;

/** Serves the page of `web/NAME` at `prefix`, `/` by default; its requests are relative to it. */
export async function servePage(app: FastifyInstance, name: string, prefix = '/'): Promise<void> {
  const folder = join(packageRoot ?? '', 'dist/web', name);
  if (!existsSync(folder))
    throw new HeedError(
      'ERR_IO',
      `${folder} is missing: heed was installed without its pages, or \`npm run build\` was not run`,
    );
  for (const [path, [file, type]] of Object.entries(files)) {
    const content = await readFile(join(folder, file));
    app.get(`${prefix}${path}`, async (_request, reply) =>
      reply.type(type).header('cache-control', 'no-cache').send(content),
    );
  }
}
