/** What went wrong, for programs: see {@link HeedError.code}. */
export type ErrorCode =
  | 'ERR_INVALID_ARGUMENT' // a value or shape that cannot be; fix the call, nothing was changed
  | 'ERR_NOT_FINITE' // a gradient is not finite; no parameter was changed
  | 'ERR_DIVERGED' // training went wrong: a number that is not finite, a policy that ran away; the last checkpoint is good
  | 'ERR_OUT_OF_MEMORY' // lower `maxTokens` or the model's size
  | 'ERR_DEVICE' // the device failed; discard the engine
  | 'ERR_IO' // a file could not be read or written; nothing half-written stands under its final name
  | 'ERR_COMMUNICATION' // another rank is gone; end the run
  | 'ERR_ABORTED' // cancelled without a signal of the caller's own
  | 'ERR_DISPOSED' // the engine, model or trainer was disposed before
  | 'ERR_INTERNAL'; // a defect of heed; please report it

/** Every failure that is not a wrong type or option, with the JavaScript stack of the call that caused it. */
export class HeedError extends Error {
  override readonly name: string = 'HeedError';
  /** @param code what kind of failure it is */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Where a datum stands. */
export interface DataPlace {
  readonly file?: string | undefined;
  /** Counted from 1. */
  readonly line?: number | undefined;
  readonly field?: string | undefined;
}

/**
 * Something in a file is not what it should be. The message opens with the place, `file:line: field …`, as compilers do, so that it
 * can be shown alone.
 */
export class DataError extends HeedError {
  override readonly name: string = 'DataError';
  readonly file: string | undefined;
  readonly line: number | undefined;
  readonly field: string | undefined;

  /** @param message continues the sentence that the place opens: `is missing, expected a string` */
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
