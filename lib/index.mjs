// What index.js exports, for import.

import library from './index.js';

export const { findBinary, forkGo } = library;
