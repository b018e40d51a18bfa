/** What went wrong, for programs: see {@link HeedError.code}. */
export type ErrorCode =
  | 'ERR_INVALID_ARGUMENT' // an invalid value or shape; nothing was changed
  | 'ERR_NOT_FINITE' // a gradient is not finite; no parameter was changed
  | 'ERR_DIVERGED' // training diverged: a number is not finite or the KL is out of bounds; the last checkpoint is good
  | 'ERR_OUT_OF_MEMORY' // lower `maxTokens` or the model's size
  | 'ERR_DEVICE' // the device failed; discard the engine
  | 'ERR_IO' // a file could not be read or written; no half-written file has its final name
  | 'ERR_COMMUNICATION' // another rank is gone; end the run
  | 'ERR_ABORTED' // cancelled, but not by a signal of the caller
  | 'ERR_DISPOSED' // the engine, model or trainer has been disposed
  | 'ERR_INTERNAL'; // a bug in heed; please report it

/** Every failure but a wrong type or option, with the JavaScript stack of the call that caused it. */
export class HeedError extends Error {
  override readonly name: string = 'HeedError';
  /** @param code the kind of failure */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A place in a data file. */
export interface DataPlace {
  readonly file?: string | undefined;
  /** Counted from 1. */
  readonly line?: number | undefined;
  readonly field?: string | undefined;
}

/**
 * A file has invalid contents. The message starts with the place, `file:line: field …`, as a compiler's does, and can be shown
 * alone.
 */
export class DataError extends HeedError {
  override readonly name: string = 'DataError';
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly field: string | undefined;

  /** @param message follows the place in one sentence: `is missing, expected a string` */
  constructor(message: string, place: DataPlace = {}, options?: ErrorOptions) {
    super('ERR_INVALID_ARGUMENT', `${describe(place)}${message}`, options);
    this.file = place.file;
    this.line = place.line;
    this.field = place.field;
  }
}

function describe({ file, line, field }: DataPlace): string {
  const position = file === undefined ? '' : line === undefined ? `${file}: ` : `${file}:${line}: `;
  return field === undefined ? position : `${position}${field} `;
}

/** Why a file cannot be read, as the rest of a sentence about it: `does not exist`. */
export function whyUnreadable(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'EISDIR') return 'is a folder, expected a file';
  if (code === 'ENOTDIR') return 'is below a file, expected folders in its path';
  return code === 'EACCES' ? 'may not be read by this user' : message;
}
