import { Writable } from 'node:stream';
import { describe, expect, jest, test } from '@jest/globals';
import { duration, progressLog } from '../../lib/cli/progress.js';

class Sink extends Writable {
  text = '';
  columns = 200;
  constructor(readonly isTTY: boolean) {
    super();
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

/** Runs with a clock that is advanced by hand. */
function withClock(run: (advance: (seconds: number) => void) => void): void {
  let now = 1000;
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => now);
  run((seconds) => {
    now += 1000 * seconds;
  });
  clock.mockRestore();
}

describe('without a terminal', () => {
  test('a stage prints a line at the start, every ten seconds, and at the end', () => {
    const sink = new Sink(false);
    withClock((advance) => {
      const stage = progressLog(sink).stage('sft', 100);
      for (let step = 1; step <= 100; step++) {
        advance(0.25);
        stage.update(step, `loss ${step}`);
      }
      stage.end();
    });
    expect(sink.text.split('\n')).toEqual([
      'sft 1/100, 4.0 steps/s, 25 s left, loss 1',
      'sft 41/100, 4.0 steps/s, 15 s left, loss 41',
      'sft 81/100, 4.0 steps/s, 4.8 s left, loss 81',
      'sft 100/100, 4.0 steps/s, 25 s, loss 100',
      '',
    ]);
  });

  test('the steps before a resume are not part of the rate', () => {
    const sink = new Sink(false);
    withClock((advance) => {
      const stage = progressLog(sink).stage('ppo', 100, 'steps', 90);
      stage.update(90);
      advance(20);
      stage.update(92);
    });
    expect(sink.text).toBe('ppo 90/100\nppo 92/100, 0.10 steps/s, 1 min 20 s left\n');
  });

  test('lines are lines', () => {
    const sink = new Sink(false);
    progressLog(sink).line('text');
    expect(sink.text).toBe('text\n');
  });
});

test('on a terminal a stage is a bar, and lines stay above it', () => {
  const sink = new Sink(true);
  const log = progressLog(sink);
  const stage = log.stage('sft', 10);
  stage.update(5, 'loss 2');
  log.line('a line that stays');
  stage.update(10, 'loss 1');
  stage.end();
  stage.update(3); // after the end: nothing
  log.line('after');
  expect(sink.text).toContain('10/10');
  expect(sink.text).toContain('█');
  expect(sink.text).toContain('loss 1');
  expect(sink.text).toContain('\u001b[2Ka line that stays\n');
  expect(sink.text.endsWith('after\n')).toBe(true);
});

test('durations have a suitable unit', () => {
  expect([0.04, 4.26, 42, 59.96, 185, 3599.6, 7800, Number.POSITIVE_INFINITY].map(duration)).toEqual([
    '0.0 s',
    '4.3 s',
    '42 s',
    '1 min 00 s',
    '3 min 05 s',
    '1 h 00 min',
    '2 h 10 min',
    '?',
  ]);
});

test('a log that is closed in the middle of a stage leaves the terminal as it was, and no timer', () => {
  const sink = new Sink(true);
  const log = progressLog(sink);
  const stage = log.stage('generate', 10);
  stage.update(3);
  log.close();
  expect(sink.text).toContain('\u001b[?7l'); // line wrapping off
  expect(sink.text.split('\u001b[?7l').at(-1)).toContain('\u001b[?7h'); // and on again
  const { length } = sink.text;
  stage.update(4);
  stage.end();
  expect(sink.text.length).toBe(length);
});
