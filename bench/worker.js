'use strict';
// The Node cluster worker whose start is timed: Node itself sends `online` before this file runs.
require('cluster');
process.on('message', () => {}); // stay until the channel ends
