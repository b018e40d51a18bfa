/** Models: their parameters, inference, loading and saving. */
export { type InitOptions, type LoadOptions, parametersOf, type SaveOptions } from './basemodel.js';
export { type KeptCache, LanguageModel } from './languagemodel.js';
export { ScalarModel } from './scalarmodel.js';
