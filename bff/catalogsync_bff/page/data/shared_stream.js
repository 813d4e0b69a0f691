/**
 * One event stream for all tabs of the browser: HTTP/1.1 allows six connections to a server, and each stream holds one.
 *
 * The tab that holds the lock has the stream, and sends its events to the others. When it is closed, the next tab gets
 * the lock. A leader that no longer sends anything (a frozen tab) loses the lock to a tab that misses it.
 */

import { EventStream } from "./event_stream.js";

const BEAT_MILLISECONDS = 5000;
/** Timers of hidden tabs run once a minute, so a hidden leader may be silent for so long. */
const LEADER_SILENCE_MILLISECONDS = 75_000;

/** @typedef {import("./event_stream.js").StreamEvent} StreamEvent */
/** @typedef {import("./event_stream.js").StreamState} StreamState */

export class SharedStream {
  /**
   * @param {string} url
   * @param {string} name Of the lock and the channel: the same for tabs that may share their events.
   * @param {{onEvent: (event: StreamEvent) => void, onState: (state: StreamState) => void,
   *   snapshot: () => StreamEvent[]}} handlers `snapshot` returns events with everything that this tab knows.
   */
  constructor(url, name, { onEvent, onState, snapshot }) {
    this.name = name;
    this.onEvent = onEvent;
    this.onState = onState;
    this.snapshot = snapshot;
    this.stream = new EventStream(
      url,
      (event) => this.receive(event),
      (state) => this.changeState(state),
    );
    /** @type {StreamState} */
    this.state = "connecting";
    this.isLeader = false;
    this.isClosed = false;
    this.lastMessageTime = Date.now();
    this.beatTimer = 0;
    /** @type {BroadcastChannel | null} */
    this.channel = null;
    /** @type {() => void} */
    this.releaseLock = () => {};
  }

  open() {
    // Locks exist in secure contexts only; without them each tab has a stream of its own.
    if (!navigator.locks) {
      this.lead();
      return;
    }
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = (message) => this.handleMessage(message.data);
    this.beatTimer = setInterval(() => this.beat(), BEAT_MILLISECONDS);
    this.channel.postMessage({ kind: "join" });
    this.requestLock({});
  }

  close() {
    this.isClosed = true;
    clearInterval(this.beatTimer);
    this.resign();
    this.channel?.close();
    this.channel = null;
    this.releaseLock();
  }

  /** Replace the connection, for example when the user asks for it. */
  reopen() {
    if (this.isLeader) this.stream.reopen();
    else this.channel?.postMessage({ kind: "reopen" });
  }

  /** @param {LockOptions} options */
  requestLock(options) {
    const held = navigator.locks.request(this.name, options, () => {
      if (this.isClosed) return undefined;
      this.lead();
      return new Promise((resolve) => {
        this.releaseLock = () => resolve(undefined);
      });
    });
    held.catch(() => {
      // Another tab took the lock over. Wait for it in the queue.
      this.resign();
      if (!this.isClosed) this.requestLock({});
    });
  }

  lead() {
    this.isLeader = true;
    this.stream.open();
  }

  resign() {
    if (!this.isLeader) return;
    this.isLeader = false;
    this.lastMessageTime = Date.now();
    this.stream.close();
  }

  /** @param {StreamEvent} event */
  receive(event) {
    this.channel?.postMessage({ kind: "event", event });
    this.onEvent(event);
  }

  /** @param {StreamState} state */
  changeState(state) {
    this.state = state;
    this.channel?.postMessage({ kind: "state", state });
    this.onState(state);
  }

  /** @param {any} message */
  handleMessage(message) {
    this.lastMessageTime = Date.now();
    if (message.kind === "join" && this.isLeader) {
      this.channel?.postMessage({ kind: "snapshot", events: this.snapshot(), state: this.state });
    } else if (message.kind === "reopen" && this.isLeader) {
      this.stream.reopen();
    } else if (this.isLeader) {
      return;
    } else if (message.kind === "event") {
      this.onEvent(message.event);
    } else if (message.kind === "state") {
      this.followState(message.state);
    } else if (message.kind === "snapshot") {
      this.followState(message.state);
      for (const event of message.events) this.onEvent(event);
    }
  }

  /** @param {StreamState} state */
  followState(state) {
    this.state = state;
    this.onState(state);
  }

  beat() {
    if (this.isLeader) {
      this.channel?.postMessage({ kind: "beat" });
    } else if (Date.now() - this.lastMessageTime > LEADER_SILENCE_MILLISECONDS) {
      this.lastMessageTime = Date.now();
      this.requestLock({ steal: true });
    }
  }
}
