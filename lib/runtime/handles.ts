/** The native halves of models, for the modules of this room alone. */
import type * as addon from '../../bindings/addon.js';

export const modelHandles = new WeakMap<object, addon.Model>();

/** @throws TypeError when it is not a model */
export function modelHandle(model: object): addon.Model {
  const handle = modelHandles.get(model);
  if (!handle)
    throw new TypeError('this is not a model of heed: LanguageModel and ScalarModel have methods that make them');
  return handle;
}
