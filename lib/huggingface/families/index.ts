import type { FamilyName } from '../modelconfig.js';
import type { Family } from './family.js';
import { gpt2 } from './gpt2.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { qwen2 } from './qwen2.js';

/** By `model_type`. */
export const families: Readonly<Record<FamilyName, Family>> = { gpt2, llama, mistral, qwen2 };
