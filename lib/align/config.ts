/** Options of the main job, with defaults found by experiment on the embedded world (docs/results.md). */
import { z } from 'zod';

const share = z.number().min(0).max(1);
const count = z.number().int().min(1);
const whole = z.number().int().min(0);
const amount = z.number().min(0);

/** What `heed align` runs. Everything random after the base is a function of `seed`. */
export const alignSchema = z.strictObject({
  seed: whole.default(0),
  /** A model folder; empty takes the base that heed ships. */
  base: z.string().default(''),
  sft: z
    .strictObject({
      demonstrations: count.default(24_000),
      validation: count.default(400),
      epochs: amount.default(1),
      batchSize: count.default(32),
      learningRate: amount.default(1e-3),
      dropout: share.default(0),
      /** Weight of the mean loss on pretraining prose, and its tokens in a step. */
      ptxCoef: amount.default(0.3),
      ptxTokens: count.default(384),
    })
    .prefault({}),
  rankings: z
    .strictObject({
      prompts: count.default(12_000),
      /** Answers to a prompt at most, 2 to 9. */
      k: z.number().int().min(2).max(9).default(6),
      /** Of them sampled from the SFT model. */
      samples: count.default(4),
      temperature: z.number().positive().default(0.8),
      heldOut: count.default(300),
    })
    .prefault({}),
  reward: z
    .strictObject({
      epochs: amount.default(3),
      batchSize: count.default(32),
      learningRate: amount.default(1e-3),
      /** The counterfactual: ranks dealt at random, so that there is nothing to learn. */
      shuffleLabels: z.boolean().default(false),
      normalize: z.enum(['bias', 'meanStd', 'none']).default('meanStd'),
    })
    .prefault({}),
  ppo: z
    .strictObject({
      iterations: count.default(45),
      batchSize: count.default(256),
      minibatches: count.default(4),
      innerEpochs: count.default(1),
      learningRate: amount.default(3e-4),
      valueLearningRate: amount.default(1e-3),
      klCoef: amount.default(0.05),
      clipRange: z.number().positive().default(0.2),
      valueClipRange: z.number().positive().default(1),
      lambda: share.default(0.95),
      /** Iterations at the start in which only the value network learns. */
      valueWarmup: whole.default(0),
      maxNewTokens: count.default(32),
      prompts: count.default(13_000),
      ptxCoef: amount.default(0.3),
      ptxTokens: count.default(384),
      /** Decay per step of an average of the weights, which is then what is evaluated; 0 is off. */
      ema: z.number().min(0).lt(1).default(0),
    })
    .prefault({}),
  evaluation: z
    .strictObject({
      /** Prompts of each family, held out. */
      perFamily: count.default(32),
      bestOf: count.default(16),
      /** Iterations of PPO between two looks at proxy and judge. */
      every: count.default(5),
      /** Prompts of each family at such a look. */
      perFamilyEvery: count.default(8),
      proseDocuments: count.default(300),
    })
    .prefault({}),
});

/** Options of {@link align}, every default put in. */
export type AlignConfig = z.output<typeof alignSchema>;
