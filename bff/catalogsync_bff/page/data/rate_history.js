/** Samples of the items per second of running syncs, as this page has observed them; at most 600 for each sync. */

/** @typedef {import("./types.js").Sync} Sync */
/** @typedef {{seconds: number, rate: number}} Sample */

const MAX_SAMPLES = 600;
const MAX_SYNCS = 20;

export class RateHistory {
  constructor() {
    /** @type {Map<string, {begin: number, samples: Sample[], secondsPerSample: number}>} */
    this.series = new Map();
  }

  /**
   * Add the present rate of a running sync. Call it about once a second.
   *
   * @param {Sync} sync
   * @param {number} now Milliseconds.
   */
  observe(sync, now) {
    const series = this.series.get(sync.sync_id) ?? this.begin(sync.sync_id, now);
    const seconds = (now - series.begin) / 1000;
    const last = series.samples.at(-1);
    if (last !== undefined && seconds - last.seconds < series.secondsPerSample * 0.9) return;
    series.samples.push({ seconds, rate: sync.waiting ? 0 : (sync.progress.items_per_second ?? 0) });
    if (series.samples.length > MAX_SAMPLES) halve(series);
  }

  /**
   * @param {string} syncId
   * @returns {readonly Sample[]}
   */
  samples(syncId) {
    return this.series.get(syncId)?.samples ?? [];
  }

  /**
   * @param {string} syncId
   * @param {number} now
   */
  begin(syncId, now) {
    const series = { begin: now, samples: [], secondsPerSample: 1 };
    this.series.set(syncId, series);
    if (this.series.size > MAX_SYNCS) this.series.delete(this.series.keys().next().value ?? "");
    return series;
  }
}

/**
 * Replace each two samples by their mean, and sample half as often from now on.
 *
 * @param {{samples: Sample[], secondsPerSample: number}} series
 */
function halve(series) {
  const merged = [];
  for (let index = 0; index + 1 < series.samples.length; index += 2) {
    const [one, other] = [series.samples[index], series.samples[index + 1]];
    merged.push({ seconds: other.seconds, rate: (one.rate + other.rate) / 2 });
  }
  series.samples = merged;
  series.secondsPerSample *= 2;
}
