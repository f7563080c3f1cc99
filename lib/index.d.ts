/** What forkGo needs of Node's cluster module. `W` is the type of its workers: `cluster.Worker`. */
export interface ClusterLike<W> {
  fork(env?: any): W;
}

/** Variables added to the environment of a worker, as `cluster.fork` takes them. */
export interface WorkerEnv {
  readonly [name: string]: string | number | boolean | undefined;
}

/** What one Go worker gets. */
export interface ForkOptions {
  /** The arguments of the Go program; without them it gets those of the cluster's settings. */
  readonly args?: readonly string[];
  /** Variables added to those of the primary. */
  readonly env?: WorkerEnv;
}

/** What is thrown when a binary cannot be started, or is not there. */
export interface BinaryError extends Error {
  /**
   * `ENOENT`: no such file; `EACCES`: a directory, or not executable; or what else the system said of the path.
   * Of findBinary also `MODULE_NOT_FOUND`, `ENOTSUP`: the package has no binary for this platform, and `ERR_VERSION`.
   */
  code: string;
  /** The absolute path that was tried, or the name of the package. */
  path: string;
}

/**
 * Forks a worker written in Go into the cluster of an otherwise unchanged Node primary, beside its Node workers.
 *
 * ```js
 * const cluster = require('cluster');
 * const { forkGo } = require('@nodeipc/go');
 *
 * cluster.fork();                    // a Node worker
 * forkGo(cluster, './bin/worker');   // a Go worker, on the same port
 * ```
 *
 * It calls `cluster.fork(env)` once, and that starts the binary instead of Node: forks before and after start Node as
 * usual. The cluster's settings (`args`, `cwd`, `stdio`, `serialization`, ...) apply to the Go worker too, but not
 * `execArgv` and the script: the Go program sees its own arguments and nothing else.
 *
 * @param cluster The module itself, `require('cluster')`, in the primary.
 * @param pathToBinary The Go program, which calls `cluster.Join`; a relative path is resolved against `process.cwd()`.
 * @param options Arguments and variables of this worker, `{ args: ['-v'], env: { PORT: 8000 } }`; or in its place the
 *   variables alone, `{ PORT: 8000 }`. It is taken for options if `args` is an array or `env` an object.
 * @returns The worker that `cluster.fork` returned; its events and methods are those of any worker.
 * @throws {BinaryError} At once, before anything is forked, when there is no such file or it cannot be executed.
 * @throws {Error} In a worker.
 * @throws {TypeError} When an argument is not what it should be.
 */
export function forkGo<W>(cluster: ClusterLike<W>, pathToBinary: string, options: ForkOptions): W;
export function forkGo<W>(cluster: ClusterLike<W>, pathToBinary: string, env?: WorkerEnv): W;

export interface FindOptions {
  /** The folder from which the package is looked for; without it `process.cwd()`, then the folder of this package. */
  readonly from?: string;
}

/**
 * Finds the Go binary of an npm package that has one for each platform in a package of its own, among its
 * `optionalDependencies`: for `@acme/worker` the file `bin/worker` of `@acme/worker-linux-x64`, of the exact version.
 * The command `nodeipc-pack-binaries` of this package makes such packages.
 *
 * Where the variable that is named after the package is set, `ACME_WORKER_BINARY` here, it is the path of the binary,
 * and nothing else is tried.
 *
 * @throws {BinaryError} When the package or its binary is not there, or the variable does not name one.
 * @throws {TypeError} When an argument is not what it should be.
 */
export function findBinary(packageName: string, options?: FindOptions): string;

export interface AdoptOptions {
  /** The arguments of the Go program; without them those of the script, `process.argv.slice(2)`. */
  readonly args?: readonly string[];
  /** Variables added to those of this process. */
  readonly env?: WorkerEnv;
}

/**
 * Gives the channel of this cluster worker to a Go program, which is the worker from then on. It is for managers that
 * insist on starting JavaScript, such as PM2 in cluster mode; the whole script that they start is
 *
 * ```js
 * require('@nodeipc/go').adopt('./worker');
 * ```
 *
 * This process stays in between and does nothing else: it forwards SIGTERM, SIGINT, SIGHUP and SIGUSR2, whose other
 * listeners are removed, writes the output of the Go program to its own stdout and stderr, and ends with its exit code
 * or signal. If it is killed itself, the Go program sees the channel end. `process.send` goes through the Go program if
 * that has called `cluster.Join`, without handles; `process.disconnect` and the `cluster` module do nothing any more.
 *
 * Call it first, in the turn of the loop in which the script starts: messages that Node has read before are lost.
 *
 * @param pathToBinary The Go program, which calls `cluster.Join`; a relative path is resolved against `process.cwd()`.
 * @returns The child process.
 * @throws {BinaryError} Before anything has changed, as everything else: when the binary cannot be started.
 * @throws {Error} When this process is no worker of a cluster or has adopted already, when the channel is in the middle
 *   of a message, on Windows, in Bun and in Deno, and in a Node that does not show what is needed of its channel.
 */
export function adopt(pathToBinary: string, options?: AdoptOptions): { readonly pid?: number };
