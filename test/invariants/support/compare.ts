// Engines that do the same work in different ways, and the difference of their gradients.
import { Engine, type EngineOptions } from '../../../lib/runtime/engine.js';
import type { LanguageModel, ScalarModel } from '../../../lib/runtime/model.js';
import type { LanguageTrainer, ScalarTrainer } from '../../../lib/runtime/trainer.js';

/** Every parameter's accumulated gradient. */
export async function gradients(
  model: LanguageModel | ScalarModel,
  trainer: LanguageTrainer | ScalarTrainer,
): Promise<Map<string, Float32Array>> {
  const found = new Map<string, Float32Array>();
  for (const { name } of model.parameters()) found.set(name, await trainer.gradient(name));
  return found;
}

/** The largest ‖a - b‖ / ‖b‖ of any tensor, and its name. */
export function relativeError(
  a: Map<string, Float32Array>,
  b: Map<string, Float32Array>,
): { error: number; name: string } {
  let worst = { error: 0, name: '' };
  if (a.size === 0 || a.size !== b.size) throw new Error(`${a.size} tensors against ${b.size}`);
  for (const [name, wanted] of b) {
    const given = a.get(name)!;
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < wanted.length; i++) {
      difference += (given[i]! - wanted[i]!) ** 2;
      norm += wanted[i]! ** 2;
    }
    if (norm === 0) throw new Error(`the gradient of ${name} is zero: nothing would be compared`);
    const error = Math.sqrt(difference / norm);
    if (!(error <= worst.error)) worst = { error, name };
  }
  return worst;
}

/** The bits of every number, which distinguish -0, 0 and NaN. */
export const bits = (x: Float32Array): number[] => [...new Uint32Array(x.buffer, x.byteOffset, x.length)];

/** Runs with an engine and disposes of it. */
export async function withEngine<T>(options: EngineOptions, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.create({ threads: 2, maxTokens: 2048, ...options });
  try {
    return await work(engine);
  } finally {
    await engine.dispose();
  }
}
