/** What training reads of a file of feedback: rankings, demonstrations, or responses called good or bad. */
export type FeedbackKind = 'rankings' | 'demonstrations' | 'feedback';
