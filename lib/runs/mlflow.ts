/**
 * Metrics to an MLflow tracking server, by its REST API (mlflow.org/docs/latest/rest-api.html). What the server does never ends a run: a
 * failure is counted, and told once.
 */
import { HeedError } from '../core/errors.js';
import { scalarsOf } from './tensorboard.js';

export interface MlflowOptions {
  /** The tracking server: `http://localhost:5000`. */
  readonly url: string;
  readonly experiment: string;
  readonly runName: string;
  /** Options of the run: its parameters. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** Called once, at the first failure. */
  readonly onFailure: (message: string) => void;
  /** Milliseconds that a request may take. Default 10 000. */
  readonly timeout?: number | undefined;
}

interface Metric {
  readonly key: string;
  readonly value: number;
  readonly timestamp: number;
  readonly step: number;
}

/** Limits of the API, per request. */
const kMetrics = 1000;
const kParameters = 100;
const kParameterLength = 500;
/** Metrics that wait for a slow server: later ones are dropped and counted. */
const kWaiting = 100_000;

export class MlflowRun {
  readonly #o: MlflowOptions;
  readonly #base: string;
  readonly #headers: Record<string, string>;
  #runId: Promise<string | undefined>;
  #waiting: Metric[] = [];
  #sending: Promise<void> = Promise.resolve();
  #failures = 0;
  #dropped = 0;

  private constructor(o: MlflowOptions) {
    const url = httpUrl(o.url);
    this.#o = o;
    this.#base = `${url.origin}${url.pathname.replace(/\/$/, '')}/api/2.0/mlflow`;
    this.#headers = { 'content-type': 'application/json', ...authorization(url) };
    this.#runId = this.#create();
  }

  /** Begins a run, without waiting for the server. @throws HeedError for what is no http URL */
  static begin(o: MlflowOptions): MlflowRun {
    return new MlflowRun(o);
  }

  /** Requests that failed, and metrics that were dropped. */
  get lost(): { readonly requests: number; readonly metrics: number } {
    return { requests: this.#failures, metrics: this.#dropped };
  }

  /** Sends the numbers of a step, when the server takes them; those within objects as `name/inner`. */
  append(step: number, metrics: Readonly<Record<string, unknown>>): void {
    const timestamp = Date.now();
    const found = scalarsOf(metrics).filter(([, value]) => Number.isFinite(value));
    if (this.#waiting.length + found.length > kWaiting) {
      this.#dropped += found.length;
      return;
    }
    for (const [key, value] of found) this.#waiting.push({ key: nameOf(key), value, timestamp, step });
    this.#sending = this.#sending.then(() => this.#send());
  }

  /** Sends what waits and ends the run. */
  async close(status: 'FINISHED' | 'FAILED' | 'KILLED'): Promise<void> {
    await this.#sending;
    const runId = await this.#runId;
    if (runId !== undefined)
      await this.#attempt(() => this.#post('runs/update', { run_id: runId, status, end_time: Date.now() }));
  }

  async #create(): Promise<string | undefined> {
    return await this.#attempt(async () => {
      const { experiment, runName, parameters } = this.#o;
      const start_time = Date.now();
      const experiment_id = await this.#experiment(experiment);
      const tags = [{ key: 'mlflow.source.name', value: 'heed' }];
      const { run } = await this.#post('runs/create', { experiment_id, run_name: runName, start_time, tags });
      const id = (run as { info?: { run_id?: unknown } } | undefined)?.info?.run_id;
      if (typeof id !== 'string') throw new Error('runs/create answered without run.info.run_id');
      const params = Object.entries(parameters)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([key, value]) => ({
          key: nameOf(key),
          value: (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, kParameterLength),
        }));
      for (let i = 0; i < params.length; i += kParameters)
        await this.#post('runs/log-batch', { run_id: id, params: params.slice(i, i + kParameters) });
      return id;
    });
  }

  async #experiment(name: string): Promise<unknown> {
    const query = `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`;
    const found = await this.#request(query, { method: 'GET' });
    if (found.status !== 404) {
      const { experiment } = (await answerOf(found, query)) as { experiment?: { experiment_id?: unknown } };
      return experiment?.experiment_id;
    }
    await found.body?.cancel();
    return (await this.#post('experiments/create', { name })).experiment_id;
  }

  async #send(): Promise<void> {
    const runId = await this.#runId;
    while (this.#waiting.length > 0) {
      const metrics = this.#waiting.splice(0, kMetrics);
      const sent =
        runId !== undefined && (await this.#attempt(() => this.#post('runs/log-batch', { run_id: runId, metrics })));
      if (!sent) this.#dropped += metrics.length;
    }
  }

  /** The result; undefined after a failure, which is counted. */
  async #attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (this.#failures++ === 0)
        this.#o.onFailure(`MLflow at ${this.#base}: ${reasonOf(error)}; the run goes on without it`);
      return undefined;
    }
  }

  async #post(path: string, body: object): Promise<Record<string, unknown>> {
    return await answerOf(await this.#request(path, { method: 'POST', body: JSON.stringify(body) }), path);
  }

  #request(path: string, init: RequestInit): Promise<Response> {
    const signal = AbortSignal.timeout(this.#o.timeout ?? 10_000);
    return fetch(`${this.#base}/${path}`, { ...init, headers: this.#headers, signal });
  }
}

async function answerOf(response: Response, path: string): Promise<Record<string, unknown>> {
  const text = await response.text();
  if (!response.ok) throw new Error(`${path.replace(/\?.*/, '')} answered ${response.status} ${text.slice(0, 200)}`);
  return JSON.parse(text || '{}') as Record<string, unknown>;
}

/** Also what fetch hides in `cause`. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message !== '' ? `${message}: ${cause.message}` : message;
}

function httpUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  throw new HeedError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(text)} is no tracking server, expected an http or https URL`,
  );
}

/** As MLflow's own clients: a token, or a name and a password; of the environment, or of the URL. */
function authorization({ username, password }: URL): Record<string, string> {
  const {
    MLFLOW_TRACKING_TOKEN: token,
    MLFLOW_TRACKING_USERNAME: user,
    MLFLOW_TRACKING_PASSWORD: secret,
  } = process.env;
  if (token) return { authorization: `Bearer ${token}` };
  const [name, word] = username ? [decodeURIComponent(username), decodeURIComponent(password)] : [user, secret];
  return name ? { authorization: `Basic ${Buffer.from(`${name}:${word ?? ''}`).toString('base64')}` } : {};
}

/** MLflow's names have letters, digits, and `_ - . space : /`. */
const nameOf = (key: string) => key.replace(/[^\w\-. :/]/g, '_').slice(0, 250);
