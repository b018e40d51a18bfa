/**
 * What is read of a file of feedback: rankings, demonstrations, or responses called good or bad, which train; or the prompts with what
 * was answered.
 */
export type FeedbackKind = 'rankings' | 'demonstrations' | 'feedback' | 'prompts';
