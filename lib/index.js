'use strict';

// What @nodeipc/go exports; index.d.ts describes it, and index.mjs has the same for import.

module.exports = {
  adopt: require('./adopt').adopt,
  findBinary: require('./binary').findBinary,
  forkGo: require('./forkgo').forkGo,
};
