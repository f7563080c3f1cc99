/**
 * For `node -r @nodeipc/go/preload server.js`, or `import '@nodeipc/go/preload'` before anything is forked: an
 * unmodified cluster primary gets Go workers. It exports nothing; preload.js says how it is configured.
 */
export {};
