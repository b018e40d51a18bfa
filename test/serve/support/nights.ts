// nights.ts AT TIME...: prints the next times after each, in the time zone of the environment, as JSON.
import { nextAt, timeOfDay } from '../../../lib/serve/learning/nightly.js';

const [at, ...times] = process.argv.slice(2) as [string, ...string[]];
console.log(JSON.stringify(times.map((time) => new Date(nextAt(timeOfDay(at), Date.parse(time))).toISOString())));
