import { describe, expect, test } from '@jest/globals';
import { align } from '../../lib/cli/align.js';
import { chat } from '../../lib/cli/chat.js';
import { type AnyCommand, helpOf, parseArguments, requireOptions } from '../../lib/cli/command.js';
import { generate } from '../../lib/cli/generate.js';
import { float32Json, shortestFloat32 } from '../../lib/cli/output.js';
import { ppo } from '../../lib/cli/ppo.js';
import { pretrain } from '../../lib/cli/pretrain.js';
import { report } from '../../lib/cli/report.js';
import { reward } from '../../lib/cli/reward.js';
import { score } from '../../lib/cli/score.js';
import { sft } from '../../lib/cli/sft.js';
import { tokenizer } from '../../lib/cli/tokenizer.js';
import { flagOf, resolve } from '../../lib/config/index.js';
import { Random } from '../../lib/core/random.js';

const parse = (command: AnyCommand, line: string) => parseArguments(command, line.split(' '));

/** Checks that the command accepts an example of its help. */
function checkExample(command: AnyCommand, example: string): void {
  const [heed, name, ...args] = example.split(/ (?=(?:[^']*'[^']*')*[^']*$)/);
  expect(heed).toBe('heed');
  if (name !== command.name) return;
  const { flags, resume, config } = parseArguments(command, args);
  if (!resume && config === undefined) requireOptions(command, resolve(command.fields, [flags]));
}

describe('arguments', () => {
  test('are flags with values, several values, switches', () => {
    const { flags, resume, dryRun, config, sets } = parse(
      sft,
      '--model base --data a.jsonl b.jsonl --learning-rate=1e-3 --no-shuffle --data c.jsonl --resume --config c.yaml --set a=1 --set b=2 --adam-betas 0.8,0.9',
    );
    expect(flags.values).toEqual({
      model: 'base',
      data: ['a.jsonl', 'b.jsonl', 'c.jsonl'],
      learningRate: 1e-3,
      shuffle: false,
      adamBetas: [0.8, 0.9],
    });
    expect({ resume, dryRun, config, sets }).toEqual({
      resume: true,
      dryRun: false,
      config: 'c.yaml',
      sets: ['a=1', 'b=2'],
    });
  });

  test('take two numbers with a comma or a space between them', () => {
    for (const betas of ['0.8,0.9', '0.8 0.9']) {
      expect(parse(sft, `--adam-betas ${betas} --seed 1`).flags.values).toEqual({ adamBetas: [0.8, 0.9], seed: 1 });
    }
  });

  test('may be negative numbers', () => {
    expect(parse(ppo, '--reward-scale -2').flags.values).toEqual({ rewardScale: -2 });
  });

  test('may be positional if the command has such an option', () => {
    expect(parse(report, 'runs/ppo').flags.values).toEqual({ run: 'runs/ppo' });
    expect(parse(align, 'mine.yaml --out x').flags.values).toEqual({ config: 'mine.yaml', out: 'x' });
  });

  test.each([
    ['--modle x', 'there is no option --modle, did you mean --model?'],
    ['--lr-schedule linear', 'there is no option --lr-schedule, it is now called --schedule'],
    ['--model', '--model needs a value'],
    ['--model --data x', '--model needs a value'],
    ['--data', '--data needs a value'],
    ['--shuffle=1', '--shuffle takes no value'],
    ['--no-model', 'there is no option --no-model'],
    ['stray', 'unexpected argument stray'],
    ['-x', 'unexpected argument -x'],
  ])('%s is refused', (line, message) => {
    expect(() => parse(sft, line)).toThrow(message);
  });

  test('a command without runs has no --resume', () => {
    expect(() => parse(report, 'x --resume')).toThrow('there is no option --resume');
  });

  test('a missing option is named with its meaning', () => {
    expect(() => requireOptions(sft, resolve(sft.fields, []))).toThrow(
      'heed sft needs --model DIR: the model to start from',
    );
    expect(() => requireOptions(report, resolve(report.fields, []))).toThrow('heed report needs RUN');
  });

  test('help has every option, its default, and examples', () => {
    const help = helpOf(sft);
    for (const key of [
      '--learning-rate RATE',
      '--no-shuffle',
      '--schedule constant|linear|cosine',
      '[9.65e-6]',
      'Examples:',
      '--dry-run',
    ]) {
      expect(help).toContain(key);
    }
    expect(helpOf(report)).not.toContain('--resume');
    for (const command of [
      sft,
      reward,
      ppo,
      align,
      generate,
      score,
      chat,
      tokenizer,
      pretrain,
      report,
    ] as AnyCommand[]) {
      const help = helpOf(command);
      expect(help).toContain(`heed ${command.name}: ${command.summary}`);
      for (const key of Object.keys(command.fields)) {
        if (key !== command.positional) expect(help).toMatch(new RegExp(`--(no-)?${flagOf(key).slice(2)}\\b`));
      }
      for (const [, lines] of command.examples) {
        for (const line of lines.split('\n')) checkExample(command, line.trim());
      }
    }
  });
});

describe('numbers', () => {
  test('float32 is printed as the shortest decimal that reads back', () => {
    expect(shortestFloat32(Math.fround(0.1))).toBe(0.1);
    expect(shortestFloat32(Math.fround(-1.5))).toBe(-1.5);
    const random = new Random(1);
    const bits = new Uint32Array(1);
    const value = new Float32Array(bits.buffer);
    for (let i = 0; i < 20_000; i++) {
      bits[0] = random.bits();
      if (!Number.isFinite(value[0])) continue;
      const printed = JSON.stringify(shortestFloat32(value[0]!));
      expect(Math.fround(JSON.parse(printed))).toBe(value[0]! + 0); // + 0: JSON has no -0
      expect(
        printed
          .replace(/e.*/, '')
          .replace(/\D/g, '')
          .replace(/^0+|0+$/g, '').length,
      ).toBeLessThanOrEqual(9);
    }
    expect(() => float32Json([0, Number.NaN], 'runs/model')).toThrow('runs/model: the model gave NaN');
  });
});
