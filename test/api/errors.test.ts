import { expect, test } from '@jest/globals';
import { DataError, HeedError } from '../../lib/core/errors.js';

test('a HeedError has a code, a name and a cause', () => {
  const cause = new Error('below');
  const error = new HeedError('ERR_IO', 'cannot read x', { cause });
  expect(error).toBeInstanceOf(Error);
  expect({ name: error.name, code: error.code, message: error.message, cause: error.cause }).toEqual({
    name: 'HeedError',
    code: 'ERR_IO',
    message: 'cannot read x',
    cause,
  });
});

test.each([
  [{ file: 'a.jsonl', line: 3, field: 'prompt' }, 'a.jsonl:3: prompt is missing'],
  [{ file: 'config.json', field: 'n_layer' }, 'config.json: n_layer is missing'],
  [{ field: 'prompt' }, 'prompt is missing'],
  [{ file: 'a.jsonl', line: 3 }, 'a.jsonl:3: is missing'],
])('a DataError begins with its place: %j', (place, message) => {
  const error = new DataError('is missing', place);
  expect(error).toBeInstanceOf(HeedError);
  expect(error.name).toBe('DataError');
  expect(error.code).toBe('ERR_INVALID_ARGUMENT');
  expect(error.message).toBe(message);
  expect(error).toMatchObject(place);
});
