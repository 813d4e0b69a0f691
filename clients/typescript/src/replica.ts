/** One replica of the catalog: its HTTP/2 connection, TLS, and how long it is avoided after a failure. */

import { readFileSync } from "node:fs";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext } from "node:tls";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { formatTarget, type ResolvedTarget } from "./address.js";
import { type CatalogCalls, createConnectCalls } from "./typed-calls.js";

/** The files of an encrypted connection. They are read for each new connection, so that they may be renewed. */
export interface TlsOptions {
  /** PEM file of the CAs that may have issued the service's certificate; without it those that Node trusts. */
  readonly caFile?: string | undefined;
  /** PEM file of the client's certificate, for mutual TLS; with `keyFile`. */
  readonly certFile?: string | undefined;
  /** PEM file of its private key. */
  readonly keyFile?: string | undefined;
  /** The name that the service's certificate must have, if it is not the host of the address. */
  readonly serverName?: string | undefined;
}

/** A server sends up to 8 MiB. */
const MAX_MESSAGE_BYTES = 8 << 20;
/** The same as in the clients in Python: a connection to a host that disappeared is dropped after 40 s. */
const PING = { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 };
/** A service accepts 1,000 streams on a connection, and lets further ones wait without an error. */
const MAX_WATCHES = 900;
const CONNECT_TIMEOUT_MS = 10_000;
const INITIAL_AVOIDANCE_MS = 1_000;
const MAX_AVOIDANCE_MS = 30_000;

/** Reads the files of TLS, and keeps the last valid ones while the files are being replaced. */
export class TlsFiles {
  readonly #options: TlsOptions;
  #context: SecureContext;

  /** Throws if a file cannot be read or used. */
  constructor(options: TlsOptions) {
    this.#options = options;
    this.#context = this.#read();
  }

  get serverName(): string | undefined {
    return this.#options.serverName;
  }

  context(): SecureContext {
    try {
      this.#context = this.#read();
    } catch {
      // The certificate and its key are two files: one of them may have been replaced already.
    }
    return this.#context;
  }

  #read(): SecureContext {
    const { caFile, certFile, keyFile } = this.#options;
    if (!certFile !== !keyFile) throw new TypeError("tls: certFile and keyFile belong together");
    return createSecureContext({
      minVersion: "TLSv1.2",
      ...(caFile && { ca: readFileSync(caFile) }),
      ...(certFile && { cert: readFileSync(certFile) }),
      ...(keyFile && { key: readFileSync(keyFile) }),
    });
  }
}

/** One connection of a replica, with the calls on it. */
export interface Connection {
  readonly transport: Transport;
  readonly calls: CatalogCalls;
  readonly sessions: Http2SessionManager;
  /** The number of open watches on it. */
  watches: number;
}

/** A replica at one IP address. It connects with the first call, and again after a connection was lost. */
export class Replica {
  readonly target: ResolvedTarget;
  readonly #tls: TlsFiles | undefined;
  readonly #connections = new Set<Connection>();
  #failures = 0;
  #avoidedUntil = 0;

  constructor(target: ResolvedTarget, tls: TlsFiles | undefined) {
    this.target = target;
    this.#tls = tls;
  }

  /** "ip:port". */
  get address(): string {
    return formatTarget(this.target.ip, this.target.port);
  }

  /** The connection of the next call. */
  get connection(): Connection {
    for (const connection of this.#connections) if (connection.watches < MAX_WATCHES) return connection;
    const connection = this.#open();
    this.#connections.add(connection);
    return connection;
  }

  /** Whether it has open calls. */
  get isInUse(): boolean {
    return [...this.#connections].some(({ sessions }) => sessions.state() === "open");
  }

  /** When calls go to this replica again; in the past: now. */
  get avoidedUntil(): number {
    return this.#avoidedUntil;
  }

  /** Lets calls go to other replicas for a while: this one failed, drains or is silent. */
  avoid(): void {
    this.#avoidedUntil = Date.now() + Math.min(INITIAL_AVOIDANCE_MS * 2 ** this.#failures, MAX_AVOIDANCE_MS);
    this.#failures += 1;
  }

  /** Notes that the replica has answered. */
  answered(): void {
    this.#failures = 0;
    this.#avoidedUntil = 0;
  }

  /** Closes a connection on which nothing arrives any more. Its other calls break, and the next call opens another. */
  discard(connection: Connection): void {
    if (this.#connections.delete(connection)) connection.sessions.abort();
  }

  close(): void {
    for (const connection of this.#connections) this.discard(connection);
  }

  #open(): Connection {
    const { host, port } = this.target;
    const baseUrl = `${this.#tls ? "https" : "http"}://${formatTarget(host, port)}`;
    const sessions = new Http2SessionManager(baseUrl, PING, { createConnection: () => this.#connect() });
    const transport = createGrpcTransport({ baseUrl, sessionManager: sessions, readMaxBytes: MAX_MESSAGE_BYTES });
    return { transport, calls: createConnectCalls(transport), sessions, watches: 0 };
  }

  #connect(): Socket {
    const { host, port, ip } = this.target;
    const name = this.#tls?.serverName ?? host;
    const socket = this.#tls
      ? connectTls({
          host: ip,
          port,
          secureContext: this.#tls.context(),
          ALPNProtocols: ["h2"],
          // Without a name the certificate must be that of the IP address.
          ...(!isIP(name) && { servername: name }),
        })
      : connectSocket({ host: ip, port });
    const timer = setTimeout(() => {
      socket.destroy(Object.assign(new Error(`no connection within ${CONNECT_TIMEOUT_MS / 1000} s`), { code: "ETIMEDOUT" }));
    }, CONNECT_TIMEOUT_MS);
    timer.unref();
    const connected = this.#tls ? "secureConnect" : "connect";
    for (const event of [connected, "close"]) socket.once(event, () => clearTimeout(timer));
    return socket;
  }
}
