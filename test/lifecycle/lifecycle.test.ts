// Processes, workers and objects that end without cleaning up.
import { describe, expect, test } from '@jest/globals';
import { preamble, program } from './child.js';

const gc = ['--expose-gc'];
const native = JSON.stringify(new URL('../../dist/lib/core/native.js', import.meta.url).href);
// Limit for the promised 250 ms, with a margin because the machine may be busy with other tests.
const limit = 250;
const pause = 150;

describe('the process ends', () => {
  test('an idle engine does not keep it alive', () => {
    program('globalThis.engine = await Engine.create();');
    program('globalThis.model = await make(); await model.logprobs(short);');
  });

  test('a pending job does', () => {
    program(`
      process.exitCode = 1;
      (await make()).logprobs(short).then(() => { process.exitCode = 0; });`);
  });

  test('process.exit with a job running and others queued', () => {
    const { stdout, endedAt } = program(`
      globalThis.model = await make();
      for (let i = 0; i < 3; i++) void model.logprobs(long);
      await sleep(400);
      console.log(Date.now());
      process.exit(0);`);
    expect(endedAt - Number(stdout)).toBeLessThan(limit + pause);
  });

  test('an uncaught error with a job running is reported as such', () => {
    const { stderr } = program('void (await make()).logprobs(long); await sleep(100); throw new Error("mine");', {
      status: 1,
    });
    expect(stderr).toContain('mine');
  });

  test('a hundred engines dropped with jobs pending', () => {
    program('for (let i = 0; i < 100; i++) void (await make()).logprobs(short);');
  });

  test('a hundred engines disposed of with jobs pending', () => {
    program(`
      const ends = [];
      for (let i = 0; i < 100; i++) {
        const model = await make();
        ends.push(model.logprobs(long).catch((error) => error.code), model.engine.dispose());
      }
      const codes = (await Promise.all(ends)).filter(Boolean);
      check(codes.length === 100 && codes.every((code) => code === 'ERR_DISPOSED'), codes.join());`);
  });

  test('stdin closed and nothing awaited', () => {
    program('for (let i = 0; i < 5; i++) Engine.create().then((e) => LanguageModel.init(e, config, { seed: 1 }));');
  });
});

describe('workers', () => {
  const workers = (count: number, body: string, after: string) => `
    import { Worker } from 'node:worker_threads';
    const source = ${JSON.stringify(preamble + body)};
    for (let i = 0; i < ${count}; i++) {
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)));
      let failure;
      worker.on('error', (error) => { failure = error; });
      ${after}
      if (failure) throw failure;
    }`;

  test('terminated in the middle of a job', () => {
    const { stdout } = program(
      workers(
        5,
        'const m = await make(); postMessage(0); for (let i = 0; i < 50; i++) void m.logprobs(long); setInterval(() => {}, 1000);'.replace(
          'postMessage',
          "(await import('node:worker_threads')).parentPort.postMessage",
        ),
        `await new Promise((resolve) => worker.once('message', resolve));
         await new Promise((resolve) => setTimeout(resolve, 50 + 60 * i));
         const begin = performance.now();
         await worker.terminate();
         console.log(performance.now() - begin);`,
      ),
      { withPreamble: false },
    );
    const ms = stdout.trim().split('\n').map(Number);
    expect(ms).toHaveLength(5);
    expect(Math.max(...ms)).toBeLessThan(limit + pause);
  });

  test('terminated while results arrive', () => {
    program(
      workers(
        30,
        `const m = await make();
         (await import('node:worker_threads')).parentPort.postMessage(0);
         for (;;) await Promise.all(Array.from({ length: 200 }, () => m.parameter('model.norm.weight')));`,
        `await new Promise((resolve) => worker.once('message', resolve));
         await new Promise((resolve) => setTimeout(resolve, 5 + 3 * (i % 10)));
         await worker.terminate();`,
      ),
      { withPreamble: false },
    );
  });

  test('two hundred that load the addon, compute and end, while the main thread never loads it', () => {
    program(
      workers(
        200,
        'await (await make()).logprobs(short);',
        `await new Promise((resolve) => worker.once('exit', resolve));`,
      ),
      { withPreamble: false },
    );
  }, 300_000);

  test('process.exit inside one, with a job running', () => {
    program(
      workers(
        5,
        'const m = await make(); void m.logprobs(long); await sleep(50); process.exit(0);',
        `await new Promise((resolve) => worker.once('exit', resolve));`,
      ),
      { withPreamble: false },
    );
  });
});

describe('dispose', () => {
  test('of an engine with a training pass running does not block the event loop and ends it soon', () => {
    const { stdout } = program(`
      const model = await make();
      const trainer = await model.trainer();
      for (let i = 0; i < 3; i++) {
        trainer.sft(long, { scale: 1 }).catch((error) => check(error.code === 'ERR_DISPOSED', error.code));
      }
      await sleep(400);
      const begin = performance.now();
      const end = model.engine.dispose();
      const call = performance.now() - begin;
      await end;
      console.log(JSON.stringify([call, performance.now() - begin]));`);
    const [call, end] = JSON.parse(stdout) as [number, number];
    expect(call).toBeLessThan(50);
    expect(end).toBeLessThan(limit + pause);
  });

  test('of a model follows all earlier calls, and frees the memory', () => {
    program(`
      const model = await make();
      const trainer = await model.trainer();
      const last = model.logprobs(short);
      await model.dispose();
      check((await last).logprobs.length === 63, 'the earlier call was lost');
      for (const call of [() => model.logprobs(short), () => trainer.zero(), () => model.clone(), () => model.save('/nowhere')]) {
        const error = await call().then(() => undefined, (e) => e);
        check(error?.code === 'ERR_DISPOSED', String(error));
      }
      const probe = await LanguageModel.init(model.engine, { ...config, numLayers: 1 }, { seed: 1 });
      const { optimizerBytes } = model.engine.usage();
      check(optimizerBytes === 0, 'the trainer still holds ' + optimizerBytes);
      await probe.dispose();`);
  });
});

describe('memory', () => {
  const megabytes = `
    const megabytes = (what) => Number(new RegExp(what + ':\\\\s+(\\\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;`;

  test('of an engine is freed by dispose, even if parts were never used', () => {
    program(`${megabytes}
      const engine = await Engine.create({ maxTokens: 16_384 });
      const addon = (await import(${native})).native();
      const handle = new addon.Engine({ device: 'cpu', dtype: 'f32', threads: 1, level: '', maxTokens: 16_384, cudaModule: '' });
      const used = new addon.Model(handle, nativeConfig(config, 'language'));
      globalThis.unused = new addon.Model(handle, nativeConfig(config, 'language'));
      const { cuRows, ...batch } = documents(16, 1024);
      await used.logprobs(batch, { temperature: 1 }).promise;
      const { arenaBytes } = handle.usage();
      check(arenaBytes > 50e6, 'too little to see: ' + arenaBytes);
      const before = megabytes('VmRSS');
      await handle.dispose();
      const given = before - megabytes('VmRSS');
      check(given > 0.8 * arenaBytes / 2 ** 20, given + ' MB of ' + arenaBytes / 2 ** 20 + ' were given back');`);
  });

  test('that is too small for a result is an error', () => {
    program(
      `${megabytes}
      import { spawnSync } from 'node:child_process';
      const model = await make();
      const batch = documents(64, 1024); // 134 MB of logits, made with 34 MB beside them
      await model.logprobs(batch); // the engine has allocated its memory
      // Enough for the numbers, not for JavaScript's copy of them.
      const bytes = Math.round((megabytes('VmSize') + 200) * 2 ** 20);
      const { status, error } = spawnSync('prlimit', ['--pid', String(process.pid), '--as=' + bytes]);
      check(status === 0, 'prlimit: ' + (error ?? status));
      const failure = await model.logits(batch).then(() => undefined, (e) => e);
      check(failure?.code === 'ERR_OUT_OF_MEMORY', String(failure));
      check((await model.logprobs(short)).logprobs.length === 63, 'it does not go on');`,
    );
  });
});

describe('garbage collection', () => {
  test('ends the threads of forgotten engines', () => {
    program(
      `
      await (await make()).logprobs(short);
      const before = threads();
      for (let k = 0; k < 10; k++) {
        await Promise.all(Array.from({ length: 10 }, async () => (await make()).logprobs(short)));
        gc();
        await sleep(5);
      }
      await settled(200, () => threads() <= before);
      check(threads() <= before, 'threads: ' + before + ' before, ' + threads() + ' after');`,
      { flags: gc },
    );
  });

  test('frees the memory of forgotten models and trainers', () => {
    program(
      `
      const engine = await Engine.create();
      const held = async () => { for (let i = 0; i < 5; i++) await (await LanguageModel.init(engine, config, { seed: 1 })).trainer(); };
      await held();
      const most = engine.usage();
      check(most.parameterBytes > 0 && most.optimizerBytes > 0, 'nothing was held');
      await settled(200, () => engine.usage().optimizerBytes === 0 && engine.usage().parameterBytes === 0);
      const { parameterBytes, optimizerBytes } = engine.usage();
      check(parameterBytes === 0 && optimizerBytes === 0, 'still held: ' + parameterBytes + ' and ' + optimizerBytes);`,
      { flags: gc },
    );
  });

  test('an unreferenced model finishes its pending calls', () => {
    program(
      `
      const pending = [];
      for (let i = 0; i < 20; i++) {
        const model = await make();
        for (let k = 0; k < 10; k++) pending.push(model.logprobs(short));
      }
      for (let i = 0; i < 10; i++) { gc(); await sleep(1); }
      for (const { logprobs } of await Promise.all(pending)) check(logprobs.length === 63, 'wrong result');`,
      { flags: gc },
    );
  });

  test('unreferenced native objects finish their pending calls', () => {
    program(
      `
      const addon = (await import(${native})).native();
      const { cuRows, ...batch } = short;
      const pending = [];
      for (let i = 0; i < 20; i++) {
        const engine = new addon.Engine({ device: 'cpu', dtype: 'f32', threads: 1, level: '', maxTokens: 256, cudaModule: '' });
        const model = new addon.Model(engine, nativeConfig(config, 'language'));
        pending.push(model.initialize(1).promise);
        for (let k = 0; k < 10; k++) pending.push(model.logprobs(batch, { temperature: 1 }).promise);
      }
      for (let i = 0; i < 10; i++) { gc(); await sleep(1); }
      for (const result of await Promise.all(pending)) check(!result || result.logprobs.length === 63, 'wrong result');`,
      { flags: gc },
    );
  });

  test('a model keeps its engine', () => {
    program(
      `
      const model = await make();
      for (let i = 0; i < 10; i++) { gc(); await sleep(1); }
      check((await model.logprobs(short)).logprobs.length === 63, 'wrong result');`,
      { flags: gc },
    );
  });
});

describe('abort', () => {
  test('while a large model is initialised', () => {
    const { stdout } = program(`
      const engine = await Engine.create();
      const large = { ...config, vocabSize: 2 ** 18, tiedHead: true }; // 34 million values in one parameter
      let begin = performance.now();
      await (await LanguageModel.init(engine, large, { seed: 1 })).dispose();
      const whole = performance.now() - begin;
      const controller = new AbortController();
      const making = LanguageModel.init(engine, large, { seed: 1, signal: controller.signal }).catch((e) => [e.message, performance.now()]);
      await sleep(whole / 10);
      controller.abort(new Error('enough'));
      begin = performance.now();
      const [message, end] = await making;
      console.log(JSON.stringify([message, end - begin, whole]));`);
    const [message, ms, whole] = JSON.parse(stdout) as [string, number, number];
    expect(message).toBe('enough');
    expect(ms).toBeLessThan(whole / 2);
  });

  test('one signal for many calls at once ends them all, and prints nothing', () => {
    const { stderr } = program(`
      const model = await make();
      const { signal } = new AbortController();
      for (let i = 0; i < 2; i++) await Promise.all(Array.from({ length: 30 }, () => model.logprobs(short, { signal })));
      const controller = new AbortController(), reason = new Error('enough');
      const calls = Array.from({ length: 30 }, () => model.logprobs(long, { signal: controller.signal }).catch((e) => e));
      await sleep(50);
      controller.abort(reason);
      check((await Promise.all(calls)).every((e) => e === reason), 'a call went on');`);
    expect(stderr).toBe('');
  });

  test('a running job stops soon, a queued one at once', () => {
    const { stdout } = program(`
      const model = await make();
      const running = new AbortController(), queued = new AbortController();
      const first = model.logprobs(long, { signal: running.signal }).catch((e) => [e.message, performance.now()]);
      const second = model.logprobs(long, { signal: queued.signal }).catch((e) => [e.message, performance.now()]);
      await sleep(300);
      const begin = performance.now();
      queued.abort(new Error('not this'));
      const [a, atSecond] = await second;
      running.abort(new Error('enough'));
      const stop = performance.now();
      const [b, atFirst] = await first;
      console.log(JSON.stringify([a, b, atSecond - begin, atFirst - stop]));
      await model.logprobs(short);`);
    const [a, b, second, first] = JSON.parse(stdout) as [string, string, number, number];
    expect([a, b]).toEqual(['not this', 'enough']);
    expect(second).toBeLessThan(100);
    expect(first).toBeLessThan(limit + pause);
  });
});
