/** What Prometheus reads at /metrics. */
import type { ServerResponse } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Admission } from './admission.js';

const kSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export class Metrics {
  readonly registry = new Registry();
  readonly requests = new Counter({
    name: 'heed_requests_total',
    help: 'Requests answered, by route and status.',
    labelNames: ['route', 'status'],
    registers: [this.registry],
  });
  readonly tokens = new Counter({
    name: 'heed_tokens_total',
    help: 'Tokens of prompts read and of answers sampled, by what requests call the model.',
    labelNames: ['kind', 'model'],
    registers: [this.registry],
  });
  readonly finished = new Counter({
    name: 'heed_answers_total',
    help: 'Answers, by how they ended: stop, length, abort.',
    labelNames: ['finish', 'model'],
    registers: [this.registry],
  });
  readonly feedback = new Counter({
    name: 'heed_feedback_total',
    help: 'Feedback kept, by kind.',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  readonly firstToken = new Histogram({
    name: 'heed_first_token_seconds',
    help: 'From the arrival of a request to its first token.',
    buckets: kSeconds,
    registers: [this.registry],
  });
  readonly seconds = new Histogram({
    name: 'heed_answer_seconds',
    help: 'From the arrival of a request to its last token.',
    buckets: kSeconds,
    registers: [this.registry],
  });

  /** Counts a request when its answer is complete, or its client has left. */
  count({ routeOptions: { url } }: FastifyRequest, answer: ServerResponse): void {
    answer.once('close', () => {
      const status = answer.writableFinished ? answer.statusCode : 499;
      this.requests.inc({ route: url ?? 'none', status: String(status) });
    });
  }

  constructor(admission: Admission, version: () => number) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    gauge('heed_slots_busy', 'Answers that are decoded now.', () => admission.busy);
    gauge('heed_queue_waiting', 'Requests that wait for a slot.', () => admission.waiting);
    gauge('heed_version', 'The version that is served.', version);
  }
}
