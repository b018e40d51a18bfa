import type { FamilyName } from '../modelconfig.js';
import type { Family } from './family.js';
import { gemma2, gemma3Text } from './gemma.js';
import { gptNeo } from './gpt_neo.js';
import { gptNeoX } from './gpt_neox.js';
import { gpt2 } from './gpt2.js';
import { llama } from './llama.js';
import { mistral } from './mistral.js';
import { olmo2 } from './olmo2.js';
import { opt } from './opt.js';
import { phi3 } from './phi3.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';
import { smollm3 } from './smollm3.js';

/** By `model_type`. */
export const families: Readonly<Record<FamilyName, Family>> = {
  gpt2,
  gpt_neo: gptNeo,
  gpt_neox: gptNeoX,
  opt,
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  olmo2,
  phi3,
  gemma2,
  gemma3_text: gemma3Text,
};
