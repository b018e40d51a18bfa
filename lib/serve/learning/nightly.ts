/** The time of day at which a service trains: by this machine's clock, in its time zone. */

export interface TimeOfDay {
  readonly hours: number;
  readonly minutes: number;
  readonly seconds: number;
}

/** @throws RangeError for what is no time */
export function timeOfDay(text: string): TimeOfDay {
  const found = /^([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/.exec(text);
  if (!found) throw new RangeError(`at is ${JSON.stringify(text)}, expected a time of day: 03:00 or 23:30:15`);
  const [hours, minutes, seconds] = [found[1], found[2], found[3] ?? 0].map(Number) as [number, number, number];
  return { hours, minutes, seconds };
}

/**
 * The first moment after `time` at which clocks show `at`. Of a time that they show twice in autumn the first counts; one that they skip
 * in spring is an hour later on that day.
 *
 * @param time milliseconds since 1970, as the result
 */
export function nextAt({ hours, minutes, seconds }: TimeOfDay, time: number): number {
  const day = new Date(time);
  for (let days = 0; ; days++) {
    // From the date anew: after a day without this hour, adding one would keep the later hour.
    const next = new Date(day.getFullYear(), day.getMonth(), day.getDate() + days, hours, minutes, seconds).getTime();
    if (next > time) return next;
  }
}
