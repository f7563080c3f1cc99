// What index.js exports, for import.

import library from './index.js';

export const { adopt, findBinary, forkGo } = library;
