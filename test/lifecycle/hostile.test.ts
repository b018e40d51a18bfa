// Whatever arguments the native module gets, it throws or rejects, and keeps working.
import { expect, test } from '@jest/globals';
import { program } from './child.js';

const url = JSON.stringify(new URL('../../dist/lib/core/native.js', import.meta.url).href);

test('every native function with wrong arguments of every kind', () => {
  const { stdout } = program(`
    const addon = (await import(${url})).native();
    const engineOptions = { device: 'cpu', dtype: 'f32', threads: 2, level: '', maxTokens: 256, cudaModule: '' };
    const engine = new addon.Engine(engineOptions);
    const language = nativeConfig({ ...config, maxPositions: 64 }, 'language');
    const model = new addon.Model(engine, language);
    const scalar = new addon.Model(engine, { ...language, head: 'scalar' });
    await model.initialize(1).promise;
    await scalar.initialize(1).promise;
    const trainer = new addon.Trainer(model, { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, dropout: 0, gradientCheckpointing: false });
    const options = { slots: 2, maxLength: 16 };
    const generator = new addon.Generator(model, options);
    const average = new addon.Model(engine, language);
    const { cuRows, ...batch } = packDocuments([[1, 2, 3, 4]]);
    const detached = Int32Array.of(1, 2, 3, 4);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const shared = new Int32Array(new SharedArrayBuffer(16));
    const resized = new Int32Array(new ArrayBuffer(16, { maxByteLength: 64 }));
    resized.buffer.resize(2);
    const throwing = new Proxy({}, { get() { throw new Error('mine'); } });
    const cyclic = {}; cyclic.self = cyclic;

    const hostile = [undefined, null, true, 0, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 10n, '', 'x', '\\0',
      'x'.repeat(1e6), Symbol('s'), () => 1, class {}, [], [1], {}, cyclic, throwing, Object.create(null), new Date(), new Map(),
      new Int32Array(0), Int32Array.of(2147483647, -2147483648), new Float32Array(3).fill(NaN), new Float64Array(2), new Uint8Array(3),
      new BigInt64Array(1), new DataView(new ArrayBuffer(4)), new ArrayBuffer(8), detached, shared, resized, Buffer.from('x'),
      new Proxy(engine, {}), new Proxy(model, {}), Object.create(model), engine, model, scalar, trainer, generator];

    let calls = 0, refused = 0, passed = 0;
    const pending = [];
    const attempt = (call) => {
      calls++;
      try {
        const job = call();
        if (job?.promise) pending.push(job.promise.then(() => passed++, (error) => {
          refused++;
          check(typeof error.code === 'string' && error.message.length > 0, 'a rejection without a code: ' + String(error));
          check(error.code !== 'ERR_INTERNAL', 'ERR_INTERNAL: ' + error.message);
        }));
        else if (job instanceof Promise) pending.push(job);
        else passed++;
      } catch (error) {
        refused++;
        check(error?.message?.length > 0, 'an exception without a message: ' + String(error));
        check(error.code !== 'ERR_INTERNAL', 'ERR_INTERNAL: ' + error.message);
      }
    };
    // Each argument in turn is replaced by each hostile value, and each field of each object argument.
    const torment = (call, good) => {
      attempt(() => call());
      good.forEach((argument, i) => {
        for (const bad of hostile) {
          attempt(() => call(...good.with(i, bad)));
          if (Object.getPrototypeOf(argument ?? null) !== Object.prototype) continue;
          for (const key of Object.keys(argument)) attempt(() => call(...good.with(i, { ...argument, [key]: bad })));
        }
      });
    };
    const drain = async () => { await Promise.all(pending.splice(0)); };

    torment((...a) => new addon.Engine(...a), [{ ...engineOptions, maxTokens: 16 }]);
    torment((...a) => { const m = new addon.Model(...a); m.parameters(); return m.initialize(1); }, [engine, { ...language, vocabSize: 8 }]);
    await drain();
    torment((...a) => { const t = new addon.Trainer(...a); return t.zero(); },
      [model, { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, dropout: 0, gradientCheckpointing: false }]);
    torment((...a) => new addon.Generator(...a).run(1, Int32Array.of()), [model, options]);
    await drain();
    const place = { name: 'model.norm.weight', dtype: 'F32', offset: 0 };
    for (const target of [model, scalar]) {
      torment((...a) => target.initialize(...a), [1]);
      torment((...a) => target.read(...a), ['/dev/zero', [place]]);
      torment((...a) => target.read('/dev/zero', [{ ...place, ...a[0] }]), [place]);
      torment((...a) => target.write(...a), ['/dev/null', new Uint8Array(4), [place]]);
      torment((...a) => target.copyFrom(...a), [model]);
      torment((...a) => target.lerp(...a), [model, 0]);
      torment((...a) => target.parameter(...a), ['model.norm.weight']);
      torment((...a) => target.logits(...a), [batch]);
      torment((...a) => target.logprobs(...a), [batch, { temperature: 1 }]);
      torment((...a) => target.scores(...a), [{ ...batch, targets: Int32Array.of() }]);
      torment((...a) => target.shiftScores(...a), [0]);
      torment((...a) => target.scaleScores(...a), [1]);
      torment((...a) => target.setScoreOffset(...a), [0]);
      await drain();
    }
    const rows = (n) => new Float32Array(n);
    torment((...a) => trainer.sft(...a), [batch, { scale: 1, dropoutSeed: 1 }]);
    torment((...a) => trainer.ppo(...a), [batch, { oldLogprobs: rows(3), advantages: rows(3), clipRange: 0.2, dualClip: 0, entropyCoef: 0,
      temperature: 1, scale: 1 }]);
    await drain();
    const ranker = new addon.Trainer(scalar, { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, dropout: 0, gradientCheckpointing: false });
    const states = { ...batch, targets: Int32Array.of() };
    for (const target of [trainer, ranker]) {
      torment((...a) => target.value(...a), [states, { oldValues: rows(3), returns: rows(3), clipRange: 0.2, scale: 1 }]);
      torment((...a) => target.reward(...a), [states, { ranks: Int32Array.of(0, 1, 2), cuGroups: Int32Array.of(0, 3), scale: 1 }]);
      const step = { trainer: target, learningRate: 0, maxGradNorm: 1, average: target === trainer ? average : undefined, averageWeight: 0 };
      torment((...a) => addon.stepTogether(a), [step, step]);
      torment((...a) => addon.stepTogether(...a), [[step]]);
      torment((...a) => target.gradient(...a), ['model.norm.weight']);
      torment((...a) => target.setSteps(...a), [0]);
      torment((...a) => target.read(...a), ['/dev/zero', [{ ...place, name: 'm.model.norm.weight' }]]);
      torment((...a) => target.write(...a), ['/dev/null', new Uint8Array(4), [{ ...place, name: 'v.model.norm.weight' }]]);
      await drain();
    }
    const start = { tokens: Int32Array.of(1, 2), cuSeqlens: Int32Array.of(0, 2), cached: Int32Array.of(0), cachedIn: Int32Array.of(0), promptOf: Int32Array.of(0),
      slots: Int32Array.of(0), sampling: [{ temperature: 1, topK: 0, topP: 1, stopTokens: Int32Array.of() }], samplingOf: Int32Array.of(0),
      seeds: Int32Array.of(1, 0), sampleIndex: Int32Array.of(0), maxNewTokens: Int32Array.of(4) };
    torment((...a) => generator.start(...a), [start]);
    torment((...a) => generator.start({ ...start, sampling: [a[0]] }), [start.sampling[0]]);
    torment((...a) => generator.run(...a), [1, Int32Array.of(0)]);
    torment((...a) => generator.prefill(...a), [0, Int32Array.of(1), 0]);
    torment((...a) => generator.release(...a), [Int32Array.of(0)]);
    torment((...a) => addon.exchangePaths(...a), ['/nowhere/a', '/nowhere/b']);
    await drain();

    // Methods on a foreign receiver, classes without new, classes as methods.
    for (const name of ['Engine', 'Model', 'Trainer', 'Generator']) {
      for (const key of Object.getOwnPropertyNames(addon[name].prototype)) {
        for (const receiver of hostile) attempt(() => Object.getOwnPropertyDescriptor(addon[name].prototype, key).value?.call(receiver, batch, options));
      }
      for (const bad of hostile) attempt(() => addon[name](bad, bad));
    }
    await drain();

    // It still works, bit-identical to a fresh engine.
    const fresh = new addon.Engine(engineOptions);
    const outputs = [];
    for (const e of [engine, fresh]) {
      const m = new addon.Model(e === engine && engineDisposed() ? fresh : e, language);
      await m.initialize(7).promise;
      outputs.push((await m.logprobs(batch, { temperature: 1 }).promise).logprobs.join());
    }
    function engineDisposed() { try { engine.info(); return false; } catch { return true; } }
    check(outputs[0] === outputs[1], 'the results changed');
    console.log(JSON.stringify({ calls, refused, passed }));
  `);
  const { calls, refused } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { calls: number; refused: number };
  expect(calls).toBeGreaterThan(5000);
  expect(refused).toBeGreaterThan(0.8 * calls);
}, 120_000);
