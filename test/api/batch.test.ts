import { describe, expect, test } from '@jest/globals';
import { beforePadding, packDocuments, packResponses, packScores, packValues } from '../../lib/runtime/batch.js';

const plain = (batch: object) =>
  Object.fromEntries(Object.entries(batch).map(([key, value]) => [key, Array.from(value as Int32Array)]));

const trees = [
  { prompt: [1, 2, 3], responses: [[4, 5], [6]] },
  { prompt: [7], responses: [[8, 9]] },
];

describe('packResponses', () => {
  test('a prompt with two responses is three segments, with the prompt once', () => {
    expect(plain(packResponses(trees))).toEqual({
      tokens: [1, 2, 3, 4, 5, 6, 7, 8, 9],
      cuSeqlens: [0, 3, 5, 6, 9],
      parent: [-1, 0, 0, -1],
      rows: [2, 3, 2, 6, 7], // the prompt's last row once per response
      targets: [4, 5, 6, 8, 9],
      cuRows: [0, 2, 3, 5],
    });
  });

  test('every row predicts its target: following the parents gives the complete sequences', () => {
    const many = Array.from({ length: 20 }, (_, i) => ({
      prompt: Array.from({ length: 1 + (i % 4) }, (_, j) => 100 * i + j),
      responses: Array.from({ length: 1 + (i % 3) }, (_, k) =>
        Array.from({ length: 1 + ((i + k) % 5) }, (_, j) => 100 * i + 10 * (k + 1) + j),
      ),
    }));
    const b = packResponses(many);
    let response = 0;
    for (const { prompt, responses } of many) {
      for (const r of responses) {
        const [begin, end] = [b.cuRows[response]!, b.cuRows[++response]!];
        expect(Array.from(b.targets.subarray(begin, end))).toEqual(r);
        const seen = Array.from(b.rows.subarray(begin, end), (row) => b.tokens[row]);
        expect(seen).toEqual([prompt.at(-1), ...r.slice(0, -1)]);
      }
    }
    expect(b.cuSeqlens.at(-1)).toBe(b.tokens.length);
    expect(b.parent.length).toBe(b.cuSeqlens.length - 1);
  });

  test('no trees make an empty batch', () => {
    expect(plain(packResponses([]))).toEqual({
      tokens: [],
      cuSeqlens: [0],
      parent: [],
      rows: [],
      targets: [],
      cuRows: [0],
    });
  });

  test.each([
    [[{ prompt: [1], responses: [] }], 'tree 0 has no responses, expected at least one'],
    [[trees[0]!, { prompt: [], responses: [[1]] }], 'tree 1: the prompt is empty'],
    [[{ prompt: [1], responses: [[2], []] }], 'tree 0: response 1 is empty, expected at least one token'],
    [[{ prompt: [1], responses: [[2, 1.5]] }], 'tree 0: response 0: token 1 is 1.5, expected a 32-bit integer'],
    [[{ prompt: [2 ** 32 + 1], responses: [[2]] }], 'tree 0: the prompt: token 0 is 4294967297'],
    [[{ prompt: [Number.NaN], responses: [[2]] }], 'tree 0: the prompt: token 0 is NaN'],
  ])('refuses %j', (bad, message) => {
    expect(() => packResponses(bad)).toThrow(RangeError);
    expect(() => packResponses(bad)).toThrow(message);
  });
});

test('packValues has the rows of packResponses and no targets', () => {
  const values = packValues(trees);
  const responses = packResponses(trees);
  expect(values.targets.length).toBe(0);
  expect(plain({ ...values, targets: [] })).toEqual(plain({ ...responses, targets: [] }));
});

describe('packScores', () => {
  test('scores each response at its last token, with a group per tree', () => {
    const b = packScores(trees);
    expect(Array.from(b.rows)).toEqual([4, 5, 8]);
    expect(Array.from(b.cuGroups)).toEqual([0, 2, 3]);
    expect(Array.from(b.cuRows)).toEqual([0, 1, 2, 3]);
    expect(b.targets.length).toBe(0);
  });

  test('responses without a prompt are separate roots', () => {
    const b = packScores([{ prompt: [], responses: [[1, 2], [3]] }]);
    expect(Array.from(b.parent)).toEqual([-1, -1]);
    expect(Array.from(b.cuSeqlens)).toEqual([0, 2, 3]);
    expect(Array.from(b.rows)).toEqual([1, 2]);
  });
});

describe('beforePadding', () => {
  const rowsOf = (responses: number[][], pad: number | undefined, prompt = [1, 2, 0]) =>
    Array.from(beforePadding(packScores([{ prompt, responses }]), pad).rows);

  test('moves the row of a response before the padding that ends it', () => {
    const responses = [[4, 0], [5, 0, 0], [0, 6], [7]];
    expect(rowsOf(responses, undefined)).toEqual([4, 7, 9, 10]);
    expect(rowsOf(responses, 9)).toEqual([4, 7, 9, 10]);
    expect(rowsOf(responses, 0)).toEqual([3, 5, 9, 10]);
  });

  test('goes on in the prompt, and stops at the first token', () => {
    expect(rowsOf([[0], [0, 0]], 0)).toEqual([1, 1]);
    expect(rowsOf([[0]], 0)).toEqual([1]); // in the prompt's own segment
    expect(rowsOf([[0], [0]], 0, [0])).toEqual([0, 0]);
  });

  test('leaves the rows of values alone, which are not at the end', () => {
    const values = packValues([{ prompt: [1, 0], responses: [[0, 0, 3]] }]);
    expect(beforePadding(values, 0).rows).toEqual(values.rows);
  });
});

describe('packDocuments', () => {
  test('predicts every token but the first of each', () => {
    expect(plain(packDocuments([[1, 2, 3], [4], Int32Array.of(5, 6)]))).toEqual({
      tokens: [1, 2, 3, 4, 5, 6],
      cuSeqlens: [0, 3, 4, 6],
      parent: [-1, -1, -1],
      rows: [0, 1, 4],
      targets: [2, 3, 6],
      cuRows: [0, 2, 2, 3],
    });
  });

  test('refuses an empty document', () => {
    expect(() => packDocuments([[1], []])).toThrow(new RangeError('document 1 is empty, expected at least one token'));
  });
});
