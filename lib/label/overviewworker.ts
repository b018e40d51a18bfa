/** The thread of an {@link Overviewer}: it looks through a file, says what it found, and ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { openFeedback } from '../feedback/database.js';
import { measuresOf } from './overview.js';
import type { Mode } from './types.js';

const { file, mode } = workerData as { readonly file: string; readonly mode: Mode };
const database = await openFeedback(file, { readOnly: true });
try {
  parentPort!.postMessage(measuresOf(database, mode));
} finally {
  database.close();
}
