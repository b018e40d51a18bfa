/** The native handles of models, for this folder's modules only. */
import type * as addon from '../../bindings/addon.js';

export const modelHandles = new WeakMap<object, addon.Model>();

/** @throws TypeError when it is not a model */
export function modelHandle(model: object): addon.Model {
  const handle = modelHandles.get(model);
  if (!handle)
    throw new TypeError('expected a model of heed: create one with the methods of LanguageModel or ScalarModel');
  return handle;
}
