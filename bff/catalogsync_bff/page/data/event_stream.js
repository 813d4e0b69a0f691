/**
 * One EventSource that is opened again after every end.
 *
 * The browser's own reconnect is not used: it gives up after an HTTP error, and it does not notice a connection that
 * died while the machine was asleep. A new stream begins with a snapshot, so nothing has to be resumed.
 */

const EVENT_TYPES = ["hello", "heartbeat", "sync", "caught_up", "sync_removed", "shop_deleted", "connection"];
const FIRST_DELAY_MILLISECONDS = 300;
/** A page is right again within 5 seconds after the server has returned. */
const MAX_DELAY_MILLISECONDS = 2500;
/** The server sends a heartbeat every 10 s. */
const SILENCE_MILLISECONDS = 25_000;
const TICK_MILLISECONDS = 1000;
/** A tick that comes so much later shows that the machine was asleep. */
const SLEEP_MILLISECONDS = 10_000;

/**
 * @typedef {{type: string, data: any}} StreamEvent
 * @typedef {"connecting" | "open" | "lost"} StreamState
 */

export class EventStream {
  /**
   * @param {string} url
   * @param {(event: StreamEvent) => void} onEvent
   * @param {(state: StreamState) => void} onState
   */
  constructor(url, onEvent, onState) {
    this.url = url;
    this.onEvent = onEvent;
    this.onState = onState;
    /** @type {EventSource | null} */
    this.source = null;
    this.failures = 0;
    this.hasHeartbeats = false;
    this.lastEventTime = 0;
    this.lastTick = 0;
    this.retryTimer = 0;
    this.tickTimer = 0;
    this.reopen = this.reopen.bind(this);
    this.handleOffline = () => this.lose();
  }

  open() {
    addEventListener("online", this.reopen);
    addEventListener("offline", this.handleOffline);
    this.lastTick = Date.now();
    this.tickTimer = setInterval(() => this.tick(), TICK_MILLISECONDS);
    this.onState("connecting");
    this.connect();
  }

  close() {
    removeEventListener("online", this.reopen);
    removeEventListener("offline", this.handleOffline);
    clearInterval(this.tickTimer);
    clearTimeout(this.retryTimer);
    this.source?.close();
    this.source = null;
  }

  /** Close the present connection and open a new one at once. */
  reopen() {
    this.failures = 0;
    this.connect();
  }

  connect() {
    clearTimeout(this.retryTimer);
    this.source?.close();
    const source = new EventSource(this.url);
    this.source = source;
    this.lastEventTime = Date.now();
    for (const type of EVENT_TYPES) {
      source.addEventListener(type, (event) => {
        if (this.source === source) this.receive(type, /** @type {MessageEvent} */ (event).data);
      });
    }
    source.addEventListener("error", () => {
      if (this.source === source) this.lose();
    });
  }

  /**
   * @param {string} type
   * @param {string} text
   */
  receive(type, text) {
    this.lastEventTime = Date.now();
    this.hasHeartbeats ||= type === "heartbeat";
    if (type === "hello") {
      this.failures = 0;
      this.onState("open");
    }
    this.onEvent({ type, data: text === "" ? {} : JSON.parse(text) });
  }

  /** Give the connection up, and try again after a random delay. */
  lose() {
    this.source?.close();
    this.source = null;
    this.failures += 1;
    this.onState("lost");
    clearTimeout(this.retryTimer);
    const longest = Math.min(MAX_DELAY_MILLISECONDS, FIRST_DELAY_MILLISECONDS * 2 ** (this.failures - 1));
    this.retryTimer = setTimeout(() => this.connect(), longest * (0.5 + Math.random() / 2));
  }

  tick() {
    const now = Date.now();
    const slept = now - this.lastTick > SLEEP_MILLISECONDS && document.visibilityState === "visible";
    const silent = this.hasHeartbeats && now - this.lastEventTime > SILENCE_MILLISECONDS;
    this.lastTick = now;
    if (this.source === null) return;
    if (slept) this.reopen();
    else if (silent) this.lose();
  }
}
