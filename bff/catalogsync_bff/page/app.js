/** Starts the page: session, event stream, routes, and rendering. */

import { Announcer } from "./announcer.js";
import { Api, ApiError } from "./data/api.js";
import { SharedStream } from "./data/shared_stream.js";
import { hasEnded } from "./data/sync_store.js";
import { render } from "./dom.js";
import { Page } from "./page.js";
import { connectionBanner } from "./parts/connection_banner.js";
import { topBar } from "./parts/top_bar.js";
import { parseRoute } from "./router.js";
import { renderRoute, titleOf } from "./views/routes.js";
import { serverUnavailable, signIn, starting } from "./views/sign_in.js";

const EVENTS_URL = "/api/v1/catalog/events";
const SESSION_RETRY_MILLISECONDS = 2500;
const TICK_MILLISECONDS = 1000;
/** Relative times change slowly while nothing runs. */
const IDLE_TICKS = 10;

class App {
  constructor() {
    this.main = element("main");
    this.announcer = new Announcer(element("announcements"));
    this.api = new Api(() => this.checkSession());
    /** @type {Page | null} */
    this.page = null;
    /** @type {SharedStream | null} */
    this.stream = null;
    /** @type {"starting" | "unavailable" | {hasDevelopmentLogin: boolean}} What is shown without a session. */
    this.gate = "starting";
    /** Tells the other tabs that the session has ended. */
    this.sessionChannel = new BroadcastChannel("catalogsync session");
    this.isRenderScheduled = false;
    this.ticks = 0;
    this.retryTimer = 0;
  }

  start() {
    element("skip-link").addEventListener("click", (event) => {
      event.preventDefault();
      this.main.focus();
    });
    addEventListener("hashchange", () => this.changeRoute());
    document.addEventListener("visibilitychange", () => this.page?.state.refresh());
    this.sessionChannel.addEventListener("message", () => this.checkSession());
    setInterval(() => this.tick(), TICK_MILLISECONDS);
    this.renderNow();
    this.checkSession();
  }

  /** Ask the server whether there is a session, and show the page or the sign-in. */
  async checkSession() {
    clearTimeout(this.retryTimer);
    try {
      const session = await this.api.session();
      if (this.page?.session.subject !== session.subject) this.beginSession(session);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) this.endSession(error.details.dev_login === true);
      else this.retrySession();
    }
    this.scheduleRender();
  }

  retrySession() {
    // With a session the page shows what it knows, and its stream connects again by itself.
    if (this.page === null) this.gate = "unavailable";
    this.retryTimer = setTimeout(() => this.checkSession(), SESSION_RETRY_MILLISECONDS);
  }

  /** @param {import("./page.js").Session} session */
  beginSession(session) {
    this.endSession(false);
    const page = new Page({
      api: this.api,
      session,
      announcer: this.announcer,
      route: parseRoute(location.hash),
      rerender: () => this.scheduleRender(),
    });
    this.page = page;
    this.stream = new SharedStream(EVENTS_URL, `catalogsync ${session.subject}`, {
      onEvent: (event) => page.state.handleEvent(event),
      onState: (state) => this.handleStreamState(state),
      snapshot: () => page.state.snapshot(),
    });
    page.state.start();
    this.stream.open();
  }

  /** @param {boolean} hasDevelopmentLogin */
  endSession(hasDevelopmentLogin) {
    this.stream?.close();
    this.page?.state.stop();
    this.stream = null;
    this.page = null;
    this.gate = { hasDevelopmentLogin };
  }

  /** @param {import("./data/event_stream.js").StreamState} state */
  handleStreamState(state) {
    this.page?.state.handleStreamState(state);
    // An EventSource does not say why it failed: perhaps the session has expired.
    if (state === "lost" && navigator.onLine) this.checkSession();
  }

  async signInForDevelopment() {
    try {
      await this.api.signInForDevelopment();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    await this.checkSession();
  }

  async signOut() {
    try {
      await this.api.signOut();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    this.sessionChannel.postMessage("ended");
    await this.checkSession();
  }

  changeRoute() {
    if (this.page === null) return;
    const route = parseRoute(location.hash);
    const isOtherView = route.name !== this.page.route.name;
    this.page.route = route;
    this.page.resources.invalidate();
    this.renderNow();
    scrollTo(0, 0);
    if (isOtherView) this.main.querySelector("h1")?.focus();
  }

  tick() {
    this.ticks += 1;
    const syncs = [...(this.page?.state.syncs.syncs.values() ?? [])];
    if (this.page?.state.isStale || syncs.some((sync) => !hasEnded(sync)) || this.ticks % IDLE_TICKS === 0)
      this.scheduleRender();
  }

  /** Render once soon, however often it is called. */
  scheduleRender() {
    if (this.isRenderScheduled) return;
    this.isRenderScheduled = true;
    const run = () => {
      if (!this.isRenderScheduled) return;
      this.isRenderScheduled = false;
      this.renderNow();
    };
    // Animation frames do not run in hidden tabs, whose title and announcements change nevertheless.
    if (document.hidden) setTimeout(run);
    else requestAnimationFrame(run);
  }

  renderNow() {
    const { page } = this;
    render(
      element("top-bar"),
      topBar(page, () => this.signOut()),
    );
    render(element("connection-banner"), page && connectionBanner(page.state, () => this.stream?.reopen()));
    render(this.main, page === null ? this.gateView() : renderRoute(page));
    const title = page === null ? "Catalog" : titleOf(page);
    if (document.title !== title) document.title = title;
  }

  gateView() {
    if (this.gate === "starting") return starting();
    if (this.gate === "unavailable") return serverUnavailable();
    return signIn(this.gate.hasDevelopmentLogin, () => this.signInForDevelopment());
  }
}

/** @param {string} id */
function element(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

new App().start();
