/**
 * For `node -r @nodeipc/go/orderly primary.js`, or `require('@nodeipc/go/orderly')` in the program of a worker: a worker
 * of a cluster that is asked to leave loses no request, also of clients that keep their connections. It exports nothing;
 * orderly.js says what it does.
 */
export {};
