/**
 * Announces changes to screen readers through the page's one live region: changes of a state at once, progress at most
 * every 10 seconds. A progress bar itself is not announced when it changes.
 */

const PROGRESS_INTERVAL_MILLISECONDS = 10_000;

export class Announcer {
  /**
   * @param {HTMLElement} region An element with role "status" that is in the document from the beginning.
   * @param {() => number} [clock] Milliseconds.
   */
  constructor(region, clock = () => performance.now()) {
    this.region = region;
    this.clock = clock;
    this.lastTime = Number.NEGATIVE_INFINITY;
  }

  /**
   * Announce a change of a state.
   *
   * @param {string} text
   */
  announce(text) {
    this.lastTime = this.clock();
    this.region.textContent = text;
  }

  /**
   * Announce progress, unless something was announced within the last 10 seconds.
   *
   * @param {() => string} text
   */
  announceProgress(text) {
    if (this.clock() - this.lastTime >= PROGRESS_INTERVAL_MILLISECONDS) this.announce(text());
  }
}
