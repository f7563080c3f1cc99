/** What forkGo needs of Node's cluster module. `W` is the type of its workers: `cluster.Worker`. */
export interface ClusterLike<W> {
  fork(env?: any): W;
}

/** Variables added to the environment of a worker, as `cluster.fork` takes them. */
export interface WorkerEnv {
  readonly [name: string]: string | number | boolean | undefined;
}

/** What forkGo throws when the binary cannot be started. */
export interface BinaryError extends Error {
  /** `ENOENT`: no such file; `EACCES`: a directory, or not executable; or what else the system said of the path. */
  code: string;
  /** The absolute path that was tried. */
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
 * It calls `cluster.fork(env)` once, with `process.execPath` set to the binary for that call only: forks before and
 * after start Node as usual. The cluster's settings (`args`, `cwd`, `stdio`, `serialization`, ...) apply to the Go
 * worker too. Its arguments are those of a Node worker: `execArgv`, the script's path, `args`.
 *
 * @param cluster The module itself, `require('cluster')`, in the primary.
 * @param pathToBinary The Go program, which calls `cluster.Join`; a relative path is resolved against `process.cwd()`.
 * @param env Variables added to those of the primary.
 * @returns The worker that `cluster.fork` returned; its events and methods are those of any worker.
 * @throws {BinaryError} At once, before anything is forked, when there is no such file or it cannot be executed.
 * @throws {Error} In a worker, and in Deno, whose cluster starts nothing but Deno.
 * @throws {TypeError} When the first argument is not a cluster module or the second not a path.
 */
export function forkGo<W>(cluster: ClusterLike<W>, pathToBinary: string, env?: WorkerEnv): W;
